// The form of a segment: only the fields of its kind, and a preview without leaving the page.
// Without this script all fields are shown, and the preview is a page of its own.

"use strict";

(() => {
    // Some admins name the field in the class of an element inside the row.
    const row = (name) => document.querySelector(`.field-${CSS.escape(name)}`)?.closest(".form-row");

    function showKind(kinds) {
        const fields = (input) => input.dataset.fields.split(" ");
        const inputs = [...kinds.querySelectorAll("input[data-fields]")];
        const chosen = inputs.find((input) => input.checked);
        if (!chosen) return;
        for (const name of new Set(inputs.flatMap(fields))) {
            const isOther = !fields(chosen).includes(name);
            row(name)?.classList.toggle("segments-other-kind", isOther);
            const input = kinds.closest("form").elements[name];
            if (input) input.disabled = isOther; // So it is not sent, however long it is.
        }
    }

    // The server has escaped the HTML of errors.
    function showError(name, errors) {
        const line = row(name);
        if (!line) return;
        const list = document.createElement("ul");
        list.className = "errorlist segments-live";
        list.id = `id_${name}_error`;
        for (const { message, html } of errors) {
            const item = document.createElement("li");
            if (html) item.innerHTML = html;
            else item.textContent = message;
            list.append(item);
        }
        line.classList.add("errors");
        line.prepend(list);
    }

    // Put errors where a reload of the page would show them.
    function showErrors(form, { errors, places, show }) {
        form.querySelectorAll(".segments-live").forEach((list) => list.remove());
        form.querySelectorAll(".form-row.errors, .form-row .errors").forEach((line) => line.classList.remove("errors"));
        form.querySelectorAll(".form-row .errorlist").forEach((list) => list.remove());
        for (const [name, items] of Object.entries(errors)) {
            showError(name, items);
        }
        const editor = form.querySelector("textarea[data-editor]");
        editor?.dispatchEvent(new CustomEvent("segments:error", { detail: places }));
        for (const name of show) {
            const input = form.elements[name];
            if (!input || input.type === "checkbox") continue;
            input.type = "checkbox";
            input.value = "on";
            row(name)?.classList.remove("hidden");
        }
    }

    // Browsers send a line break of one character as six.
    function isTooLong(form, section) {
        const limit = Number(section.dataset.maxSize);
        if (!limit) return false;
        const text = new URLSearchParams(new FormData(form)).toString().replaceAll("%0D%0A", "%0A");
        return text.length + 3 * (text.split("%0A").length - 1) > limit;
    }

    function refuse(form, section) {
        const errors = { static_ids: [{ message: section.dataset.tooLong }] };
        showErrors(form, { errors, places: [], show: [] });
    }

    // Say why the server has sent no preview.
    function problem(response, { dataset }) {
        if (response.redirected) return dataset.login;
        if ([400, 413].includes(response.status)) return dataset.tooLong;
        return response.status < 500 ? dataset.refused : dataset.failed;
    }

    async function preview(form, section) {
        const output = section.querySelector(".segments-preview");
        const button = section.querySelector("[name=_preview]");
        if (isTooLong(form, section)) {
            output.textContent = section.dataset.tooLong;
            refuse(form, section);
            return;
        }
        const body = new FormData(form);
        body.set("_preview", "1");
        button.disabled = true;
        output.setAttribute("aria-busy", "true");
        output.textContent = section.dataset.busy;
        try {
            const response = await fetch(section.dataset.segmentsPreview, {
                method: "POST",
                body,
                headers: { Accept: "application/json" },
                credentials: "same-origin",
            });
            if (response.ok && !response.redirected) {
                const answer = await response.json();
                output.innerHTML = answer.html; // The server has escaped it.
                showErrors(form, answer);
            } else {
                output.textContent = problem(response, section);
            }
        } catch {
            output.textContent = section.dataset.offline;
        } finally {
            output.removeAttribute("aria-busy");
            button.disabled = false;
        }
    }

    // Ask before a link or the back button loses what was written; saving sends it.
    function guard(form, isUnsaved) {
        const text = (value) => (value instanceof File ? value.name : value);
        const filled = () => JSON.stringify([...new FormData(form)].map(([name, value]) => [name, text(value)]).filter(([, value]) => value !== ""));
        const before = filled();
        let isSent = false;
        form.addEventListener("submit", (event) => {
            isSent = !event.defaultPrevented;
        });
        window.addEventListener("beforeunload", (event) => {
            const isLost = !isSent && (isUnsaved || filled() !== before);
            isSent = false; // A download leaves the page open.
            if (!isLost) return;
            event.preventDefault();
            event.returnValue = true; // For older browsers.
        });
    }

    function start() {
        const kinds = document.querySelector(".segments-kinds");
        if (kinds) {
            showKind(kinds);
            kinds.addEventListener("change", () => showKind(kinds));
        }
        // On a phone the table of refreshes scrolls, which must be possible by keyboard.
        document.getElementById("refreshes-group")?.setAttribute("tabindex", "0");
        const section = document.querySelector("[data-segments-preview]");
        if (section) {
            const form = section.closest("form");
            section.querySelector("[name=_preview]").addEventListener("click", (event) => {
                event.preventDefault();
                preview(form, section);
            });
            form.addEventListener("submit", (event) => {
                if (!isTooLong(form, section)) return;
                event.preventDefault();
                refuse(form, section);
                form.elements.static_ids?.focus();
            });
            guard(form, "unsaved" in section.dataset);
        }
    }

    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
    else start();
})();
