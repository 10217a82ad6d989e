// The form of a trigger: rows that come and go, examples that are put in, and each mistake at its field. Which mistakes there are the server says.
"use strict";
(() => {
  const editor = () => document.getElementById("editor");
  const left = new Set(); // fields that somebody has been in
  let dirty = Boolean(editor()?.hasAttribute("data-submitted"));

  const tell = (field) => field.dispatchEvent(new Event("input", { bubbles: true }));

  // Rows are numbered as the server counts them: those with something in them first.
  function number(group) {
    const lines = [...group.querySelectorAll("[data-line-of]")];
    const full = (line) => [...line.querySelectorAll("input")].some((input) => input.value.trim());
    [...lines.filter(full), ...lines.filter((line) => !full(line))].forEach((line, index) => {
      line.querySelector("input").id = `${group.dataset.lines}-${index + 1}`;
      line.querySelector(".error").id = `${group.dataset.lines}-${index + 1}-e`;
      line.querySelector("input").setAttribute("aria-describedby", `${group.dataset.lines}-${index + 1}-e`);
    });
  }

  // The empty row at the end is for browsers without scripts: here there is a button.
  function tidy() {
    for (const group of document.querySelectorAll("#editor [data-lines]")) {
      const lines = group.querySelectorAll("[data-line-of]");
      if (lines.length > 1) lines[lines.length - 1].remove();
    }
  }

  // At each field what is wrong with it; in one that is typed in for the first time only when somebody rests.
  let rest = 0;
  function place() {
    const form = editor();
    if (!form) return;
    clearTimeout(rest);
    for (const part of form.querySelectorAll("template[data-for]")) {
      document.getElementById(part.dataset.for)?.replaceChildren(part.content);
      part.remove();
    }
    for (const group of form.querySelectorAll("[data-lines]")) number(group);
    const found = new Map();
    for (const item of form.querySelectorAll("#wrong [data-at]")) {
      const id = item.dataset.at;
      if (id) found.set(id, [...(found.get(id) || []), item.querySelector("[data-what]").textContent]);
    }
    for (const error of form.querySelectorAll("#fields .error[id]")) {
      const id = error.id.slice(0, -2);
      const field = document.getElementById(id);
      const words = found.get(id) || [];
      const typing = field === document.activeElement && !left.has(id) && !("submitted" in form.dataset);
      const bad = words.length > 0 && !typing;
      if (words.length > 0 && typing) rest = setTimeout(() => { left.add(id); place(); }, 1500);
      error.hidden = !bad;
      if (error.textContent !== words.join("; ")) error.textContent = words.join("; ");
      error.closest(".field").classList.toggle("bad", bad && !error.closest("[data-lines]"));
      if (field && field.matches("input, select, textarea")) {
        if (bad) field.setAttribute("aria-invalid", "true");
        else field.removeAttribute("aria-invalid");
      }
    }
    for (const more of form.querySelectorAll("details[data-more]")) if (more.querySelector("[aria-invalid]")) more.open = true;
  }

  document.addEventListener("htmx:afterSettle", (event) => {
    if (event.target.id === "editor") tidy();
    if (["editor", "judged", "known"].includes(event.target.id)) place();
  });
  document.addEventListener("focusout", (event) => {
    if (!editor() || !editor().contains(event.target) || !event.target.id) return;
    left.add(event.target.id);
    place();
  });
  document.addEventListener("input", (event) => { if (event.target.closest("#fields")) dirty = true; });

  document.addEventListener("click", (event) => {
    const add = event.target.closest("[data-add]");
    if (add) {
      const lines = add.parentElement.querySelectorAll("[data-line-of]");
      const line = lines[lines.length - 1].cloneNode(true);
      for (const input of line.querySelectorAll("input")) {
        input.value = "";
        input.removeAttribute("aria-invalid");
        input.setAttribute("aria-label", input.getAttribute("aria-label").replace(/\d+$/, lines.length + 1));
      }
      line.querySelector(".error").hidden = true;
      lines[lines.length - 1].after(line);
      number(add.parentElement);
      line.querySelector("input").focus();
      return;
    }
    const remove = event.target.closest("[data-remove]");
    if (remove) {
      const line = remove.closest("[data-line-of]");
      const group = line.parentElement;
      const lines = group.querySelectorAll("[data-line-of]");
      const next = line.nextElementSibling?.matches("[data-line-of]") ? line.nextElementSibling : line.previousElementSibling;
      for (const input of line.querySelectorAll("input")) input.value = "";
      tell(line.querySelector("input"));
      line.querySelector("input").dispatchEvent(new Event("change", { bubbles: true }));
      if (lines.length > 1) line.remove();
      (lines.length > 1 ? next : line).querySelector("input").focus();
      number(group);
      return;
    }
    const put = event.target.closest("[data-put], [data-insert]");
    if (put) {
      const field = document.getElementById(put.dataset.into);
      const end = field.selectionEnd ?? field.value.length;
      if ("put" in put.dataset) field.value = put.dataset.put;
      else field.setRangeText(put.dataset.insert, field.selectionStart ?? end, end, "end");
      field.focus();
      tell(field);
      return;
    }
    const go = event.target.closest("[data-go-line]");
    if (go) {
      event.preventDefault();
      const text = document.getElementById("f-yaml");
      const lines = text.value.split("\n");
      const line = Math.min(Number(go.dataset.goLine), lines.length) - 1;
      const at = lines.slice(0, line).join("\n").length + (line ? 1 : 0);
      text.focus();
      text.setSelectionRange(at, at + lines[line].length);
      text.scrollTop = (text.scrollHeight / lines.length) * Math.max(0, line - 4);
      return;
    }
    const to = event.target.closest("#judged a[href^='#f-'], #verdict a");
    if (to) {
      const field = document.getElementById(to.getAttribute("href").slice(1));
      if (!field) return;
      event.preventDefault();
      for (let around = field.closest("details"); around; around = around.parentElement.closest("details")) around.open = true;
      field.scrollIntoView({ block: "center" });
      field.focus({ preventScroll: true });
    }
  });

  // Return in a field sends nothing: the button does.
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.matches("#fields input:not([type=checkbox], [type=radio])")) event.preventDefault();
  });

  document.addEventListener("submit", (event) => { if (event.target.id === "editor") dirty = false; });
  addEventListener("beforeunload", (event) => { if (dirty && editor()) event.preventDefault(); });
  tidy();
  place();
})();
