// The editor of SQL in the admin. It stands in place of a textarea, which keeps the text, so that
// the form works as it does without JavaScript.

import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { PostgreSQL, sql } from "@codemirror/lang-sql";
import { HighlightStyle, bracketMatching, indentOnInput, syntaxHighlighting } from "@codemirror/language";
import { lintGutter, setDiagnostics } from "@codemirror/lint";
import { Compartment, EditorState } from "@codemirror/state";
import { EditorView, drawSelection, highlightActiveLine, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";

const MONOSPACE = "var(--font-family-monospace, ui-monospace, Menlo, Consolas, monospace)";

// Colours are variables of the page, which knows whether it is light or dark.
const theme = EditorView.theme({
    "&": {
        backgroundColor: "var(--segments-editor-bg, Canvas)",
        color: "var(--segments-editor-fg, CanvasText)",
        border: "1px solid var(--segments-editor-border, GrayText)",
        borderRadius: "4px",
        fontSize: "13px",
    },
    "&.cm-focused": { outline: "2px solid var(--segments-focus, Highlight)", outlineOffset: "-1px" },
    ".cm-scroller": { fontFamily: MONOSPACE, lineHeight: "1.5", minHeight: "12em", maxHeight: "60vh", overflow: "auto" },
    ".cm-content": { caretColor: "var(--segments-editor-fg, CanvasText)", padding: "6px 0" },
    ".cm-cursor": { borderLeftColor: "var(--segments-editor-fg, CanvasText)" },
    ".cm-gutters": {
        backgroundColor: "var(--segments-editor-gutter, Canvas)",
        color: "var(--segments-editor-quiet, GrayText)",
        border: "none",
    },
    ".cm-activeLine, .cm-activeLineGutter": { backgroundColor: "transparent" },
    "&.cm-focused .cm-activeLine": { backgroundColor: "var(--segments-editor-line, transparent)" },
    "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": {
        backgroundColor: "var(--segments-editor-selection, Highlight)",
    },
    ".cm-matchingBracket, &.cm-focused .cm-matchingBracket": {
        backgroundColor: "var(--segments-editor-selection, Highlight)",
    },
    ".cm-tooltip": {
        backgroundColor: "var(--segments-editor-bg, Canvas)",
        color: "var(--segments-editor-fg, CanvasText)",
        border: "1px solid var(--segments-editor-border, GrayText)",
    },
    ".cm-tooltip-autocomplete > ul": { fontFamily: MONOSPACE },
    ".cm-tooltip-autocomplete > ul > li[aria-selected]": {
        backgroundColor: "var(--segments-editor-chosen, Highlight)",
        color: "var(--segments-editor-on-chosen, HighlightText)",
    },
    // CodeMirror draws this as an image in its style, which a strict policy does not load.
    ".cm-lint-marker": { content: "normal", boxSizing: "border-box", borderRadius: "50%" },
    ".cm-lint-marker-error": {
        content: "normal",
        backgroundColor: "var(--segments-editor-error, red)",
        border: "2px solid var(--segments-editor-error, red)",
    },
    ".cm-diagnostic": { whiteSpace: "pre-wrap", maxWidth: "60em" },
    ".cm-diagnostic-error": { borderLeftColor: "var(--segments-editor-error, red)" },
    ".cm-lintRange-error": {
        backgroundImage: "none",
        textDecoration: "underline wavy var(--segments-editor-error, red)",
        textDecorationSkipInk: "none",
    },
});

const highlighting = HighlightStyle.define([
    { tag: [tags.keyword, tags.operatorKeyword], color: "var(--segments-sql-keyword)", fontWeight: "bold" },
    { tag: [tags.string, tags.special(tags.string)], color: "var(--segments-sql-string)" },
    { tag: [tags.number, tags.bool, tags.null], color: "var(--segments-sql-number)" },
    { tag: [tags.typeName, tags.standard(tags.name)], color: "var(--segments-sql-type)" },
    { tag: tags.comment, color: "var(--segments-sql-comment)", fontStyle: "italic" },
]);

// Where an error is: from its place to the end of the word or quoted text that begins there.
function range(state, { line, column }) {
    const text = state.doc.line(Math.min(line, state.doc.lines));
    const from = Math.min(text.from + codeUnits(text.text, column - 1), text.to);
    const word = /^(?:[\w$.]+|"[^"]*"|'[^']*'|\S)/.exec(text.text.slice(from - text.from));
    const to = from + (word ? word[0].length : 0);
    return to > from ? { from, to } : { from: Math.max(from - 1, text.from), to: from };
}

// Postgres counts characters, and JavaScript counts halves of some.
function codeUnits(text, characters) {
    return [...text].slice(0, characters).join("").length;
}

// Where text replaces a selection, Chromium would keep the style of that in an inline style, which a
// strict policy refuses. So the editor replaces it itself, as CodeMirror does after other input.
const replacing = EditorView.domEventHandlers({
    beforeinput(event, view) {
        const { main, ranges } = view.state.selection;
        if (event.inputType !== "insertText" || !event.data || main.empty || ranges.length > 1) return false;
        if (event.isComposing || view.composing) return false;
        const insert = () =>
            view.state.update(view.state.replaceSelection(event.data), { userEvent: "input.type", scrollIntoView: true });
        const handlers = view.state.facet(EditorView.inputHandler);
        if (!handlers.some((handle) => handle(view, main.from, main.to, event.data, insert))) view.dispatch(insert());
        return true;
    },
});

class Editor {
    constructor(textarea) {
        this.textarea = textarea;
        const host = document.createElement("div");
        host.className = "segments-editor";
        textarea.after(host);
        // In a shadow root the styles are adopted sheets, which a strict policy allows; in the page
        // they would be an inline <style>.
        const root = host.attachShadow({ mode: "open" });
        this.language = new Compartment();
        const label = textarea.labels[0];
        const help = textarea.dataset.help || "";
        this.view = new EditorView({
            doc: textarea.value,
            root,
            parent: root,
            extensions: [
                lineNumbers(),
                history(),
                drawSelection(),
                indentOnInput(),
                bracketMatching(),
                closeBrackets(),
                autocompletion(),
                highlightActiveLine(),
                syntaxHighlighting(highlighting),
                lintGutter(),
                replacing,
                theme,
                this.language.of(sql({ dialect: PostgreSQL })),
                // Tab is not bound: it moves on to the next field, as everywhere in a form.
                keymap.of([...closeBracketsKeymap, ...completionKeymap, ...historyKeymap, ...defaultKeymap]),
                EditorState.tabSize.of(4),
                EditorView.lineWrapping,
                EditorView.contentAttributes.of({
                    "aria-label": label ? label.textContent.trim().replace(/:$/, "") : "SQL",
                    "aria-description": help,
                    "aria-multiline": "true",
                }),
                EditorView.updateListener.of((update) => {
                    if (update.docChanged) this.write();
                }),
            ],
        });
        textarea.hidden = true;
        textarea.dataset.edited = "";
        if (label) label.addEventListener("click", () => this.view.focus());
        textarea.addEventListener("segments:error", (event) => this.mark(event.detail));
        this.mark(JSON.parse(textarea.dataset.errors || "[]"));
        if (textarea.dataset.completion) this.complete(textarea.dataset.completion);
    }

    write() {
        this.textarea.value = this.view.state.doc.toString();
        this.textarea.dispatchEvent(new Event("change", { bubbles: true }));
    }

    mark(errors) {
        const { state } = this.view;
        const diagnostics = errors
            .filter((error) => error.line)
            .map((error) => ({ ...range(state, error), severity: "error", message: error.message }));
        this.view.dispatch(setDiagnostics(state, diagnostics));
        if (diagnostics.length) {
            this.view.dispatch({ effects: EditorView.scrollIntoView(diagnostics[0].from, { y: "nearest" }) });
        }
    }

    async complete(url) {
        const response = await fetch(url, { headers: { Accept: "application/json" } });
        if (!response.ok) return;
        const { schema, search_path: path } = await response.json();
        const tables = Object.assign({}, ...path.map((name) => schema[name] || {}).reverse());
        const language = sql({ dialect: PostgreSQL, schema: { ...schema, ...tables }, upperCaseKeywords: true });
        this.view.dispatch({ effects: this.language.reconfigure(language) });
    }
}

function start() {
    for (const textarea of document.querySelectorAll("textarea[data-editor=sql]")) {
        if (!("edited" in textarea.dataset)) new Editor(textarea);
    }
}

if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
else start();
