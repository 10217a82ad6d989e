// What a page does beyond links and forms. Everything works without it, but for what has to move.
"use strict";

// A link that signs in: the token is in the fragment, which no server and no log sees.
if (location.hash.startsWith("#token=")) {
  const token = location.hash.slice(7);
  history.replaceState(null, "", location.pathname + location.search);
  const form = document.createElement("form");
  form.method = "post";
  form.action = "/console/sign-in";
  const next = document.querySelector("form[data-sign-in] [name=next]");
  for (const [name, value] of [["token", token], ["next", next ? next.value : location.pathname + location.search]]) {
    const input = document.createElement("input");
    input.type = "hidden";
    input.name = name;
    input.value = value;
    form.append(input);
  }
  document.body.append(form);
  form.submit();
}

function say(words) {
  const place = document.getElementById("toast");
  if (!place) return;
  const line = document.createElement("p");
  line.textContent = words;
  place.append(line);
  setTimeout(() => line.remove(), 6000);
}

for (const line of document.querySelectorAll("[data-said]")) setTimeout(() => line.remove(), 8000);

// Light or dark, kept in a cookie so that the next page comes in it at once.
for (const form of document.querySelectorAll("[data-theme-choice]")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const theme = event.submitter.value;
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    const kept = theme === "system" ? "; Max-Age=0" : `${theme}; Max-Age=31536000`;
    document.cookie = `cdcd_theme=${kept}; Path=/console; SameSite=Strict`;
    for (const button of form.querySelectorAll("button")) button.setAttribute("aria-pressed", String(button === event.submitter));
    document.dispatchEvent(new Event("themed"));
  });
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("themed")));

// "3 min ago" stays true.
function distance(seconds) {
  const away = Math.abs(seconds);
  if (away < 1) return "now";
  const [length, unit] = away < 60 ? [1, "s"] : away < 3600 ? [60, "min"] : away < 86400 ? [3600, "h"] : [86400, "d"];
  const words = `${Math.floor(away / length)} ${unit}`;
  return seconds < 0 ? `${words} ago` : `in ${words}`;
}
function refreshTimes() {
  for (const time of document.querySelectorAll("time[data-ago]")) {
    const words = distance((Date.parse(time.dateTime) - Date.now()) / 1000);
    if (time.textContent !== words) time.textContent = words;
  }
}
setInterval(refreshTimes, 5000);

// What is there only with scripts, on the page and on each part that comes later.
function prepare(root) {
  for (const button of root.querySelectorAll("[data-copy], [data-copy-address]")) button.hidden = false;
  for (const part of root.querySelectorAll("[data-scripted]")) part.hidden = false;
}
// When every script is there (all are deferred), so that no button is shown that nobody answers yet.
document.addEventListener("DOMContentLoaded", () => prepare(document));
document.addEventListener("htmx:load", (event) => prepare(event.target));

// Copying: the text of another element, or the address of a page. Browsers have a clipboard only on https and on this machine.
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const place = document.createElement("textarea");
    place.value = text;
    place.className = "visually-hidden";
    document.body.append(place);
    place.select();
    const done = document.execCommand("copy");
    place.remove();
    return done;
  }
}
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy], [data-copy-address]");
  if (!button) return;
  if (button.dataset.copyAddress) {
    const address = new URL(button.dataset.copyAddress, location.href).href;
    return say((await copied(address)) ? "Copied the address." : address);
  }
  const from = document.getElementById(button.dataset.copy);
  if (await copied(from.value ?? from.textContent)) return say("Copied.");
  const range = document.createRange();
  range.selectNodeContents(from);
  getSelection().removeAllRanges();
  getSelection().addRange(range);
  say("Selected: copy it with Ctrl-C.");
});

// Ask before what cannot be taken back.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.dataset.confirm || form.dataset.sure) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  const asking = document.createElement("dialog");
  const article = document.createElement("article");
  const words = document.createElement("p");
  words.id = "asked";
  words.textContent = form.dataset.confirm;
  const actions = document.createElement("div");
  actions.className = "actions";
  const yes = document.createElement("button");
  yes.type = "button";
  yes.className = "danger sure";
  yes.textContent = form.dataset.yes || "Yes";
  const no = document.createElement("button");
  no.type = "button";
  no.className = "quiet";
  no.textContent = "No, leave it";
  actions.append(yes, no);
  article.append(words, actions);
  asking.append(article);
  asking.setAttribute("aria-labelledby", "asked");
  document.body.append(asking);
  no.addEventListener("click", () => asking.close());
  yes.addEventListener("click", () => {
    asking.close();
    if (!form.isConnected) return say("It has changed meanwhile, so nothing was done: look again.");
    form.dataset.sure = "yes";
    form.requestSubmit(event.submitter);
    delete form.dataset.sure; // a form that stays asks again the next time
  });
  asking.addEventListener("close", () => asking.remove());
  asking.showModal();
  no.focus();
}, true);

// What somebody typed meanwhile is not replaced by the answer to what stood there before.
let typed = new Set();
document.addEventListener("htmx:beforeSwap", (event) => {
  const sent = event.detail.requestConfig.formData;
  const plain = (text) => String(text).replaceAll("\r\n", "\n");
  typed = new Set([...document.querySelectorAll("textarea")].filter((area) => sent?.has(area.name) && plain(sent.get(area.name)) !== plain(area.value)));
});
document.addEventListener("htmx:oobBeforeSwap", (event) => {
  if (typed.has(event.detail.target)) event.detail.shouldSwap = false;
});

// Parts that htmx could not have: say why.
document.addEventListener("htmx:responseError", (event) => say(event.detail.xhr.responseText.slice(0, 300) || "That did not work."));
document.addEventListener("htmx:sendError", () => say("cdcd does not answer. Is it running?"));
document.addEventListener("htmx:afterSettle", refreshTimes);

// Parts that are asked for again and again (hx-trigger="every ...", hx-swap="merge" with hx-ext="merge"): only what is different changes,
// so that focus, selection and what the pointer is on stay; and nobody is asked while nobody looks.
function merge(old, fresh, added) {
  if (old.isEqualNode(fresh)) return;
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const name of old.getAttributeNames()) if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  const words = (element) => [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
  if (words(old) || words(fresh) || !old.children.length) {
    if (old.innerHTML === fresh.innerHTML) return;
    old.replaceChildren(...fresh.childNodes);
    added.push(...old.children);
    return;
  }
  const known = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
  const wanted = new Set([...fresh.children].map((child) => child.id));
  for (const [id, child] of known) if (!wanted.has(id)) child.remove();
  let place = old.firstElementChild;
  for (const child of [...fresh.children]) {
    const there = child.id ? known.get(child.id) : place && !place.id && place.localName === child.localName ? place : undefined;
    if (!there) {
      old.insertBefore(child, place);
      added.push(child);
      continue;
    }
    if (there === place) place = place.nextElementSibling;
    else old.insertBefore(there, place);
    merge(there, child, added);
  }
  while (place) {
    const next = place.nextElementSibling;
    place.remove();
    place = next;
  }
}
htmx.defineExtension("merge", {
  isInlineSwap: (style) => style === "merge",
  handleSwap: (style, target, fragment) => {
    if (style !== "merge") return false;
    const fresh = fragment.firstElementChild;
    if (!fresh) return [];
    const focused = document.activeElement;
    const added = [];
    prepare(fragment);
    merge(target, fresh, added);
    if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
    return added;
  },
});
document.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden && /(^|,)\s*every /.test(event.detail.elt.getAttribute("hx-trigger") || "")) event.preventDefault();
});
