// The form of a segment: only the fields of its kind, and a preview without leaving the page.
// Without this script all fields are shown, and the preview is a page of its own.

"use strict";

(() => {
    const row = (name) => document.querySelector(`.form-row.field-${CSS.escape(name)}`);

    function showKind(kinds) {
        const fields = (input) => input.dataset.fields.split(" ");
        const inputs = [...kinds.querySelectorAll("input[data-fields]")];
        const chosen = inputs.find((input) => input.checked);
        if (!chosen) return;
        for (const name of new Set(inputs.flatMap(fields))) {
            row(name)?.classList.toggle("segments-other-kind", !fields(chosen).includes(name));
        }
    }

    // Put errors where a reload of the page would show them.
    function showErrors(form, { errors, places, show }) {
        form.querySelectorAll(".segments-live").forEach((list) => list.remove());
        form.querySelectorAll(".form-row.errors").forEach((line) => line.classList.remove("errors"));
        form.querySelectorAll(".form-row > .errorlist").forEach((list) => list.remove());
        for (const [name, items] of Object.entries(errors)) {
            const line = row(name);
            if (!line) continue;
            const list = document.createElement("ul");
            list.className = "errorlist segments-live";
            list.id = `id_${name}_error`;
            for (const { message } of items) {
                const item = document.createElement("li");
                item.textContent = message;
                list.append(item);
            }
            line.classList.add("errors");
            line.prepend(list);
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

    async function preview(form, section) {
        const output = section.querySelector(".segments-preview");
        const button = section.querySelector("[name=_preview]");
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
            if (!response.ok || response.redirected) throw new Error(response.statusText);
            const answer = await response.json();
            output.innerHTML = answer.html; // The server has escaped it.
            showErrors(form, answer);
        } catch {
            output.textContent = section.dataset.failed;
        } finally {
            output.removeAttribute("aria-busy");
            button.disabled = false;
        }
    }

    function start() {
        const kinds = document.querySelector(".segments-kinds");
        if (kinds) {
            showKind(kinds);
            kinds.addEventListener("change", () => showKind(kinds));
        }
        const section = document.querySelector("[data-segments-preview]");
        if (section) {
            section.querySelector("[name=_preview]").addEventListener("click", (event) => {
                event.preventDefault();
                preview(section.closest("form"), section);
            });
        }
    }

    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
    else start();
})();
