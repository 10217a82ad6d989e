// The event log's live tail. Each look of the server is what has changed among the newest deliveries: at most a hundred, at most once a
// second, whatever comes. Rows stand by their id, which begins with the event's time. While the pointer is on the list nothing moves under it.
"use strict";

(() => {
  const MOST = 100; // rows
  const FROM = "/console/events";
  let stream = null; // the connection, while it is on
  let on = false; // whether it is wanted
  let waiting = new Map(); // id -> row, not shown yet; null: to be taken away
  let come = 0; // new deliveries since it began
  let flood = false;
  let since = null;

  const button = () => document.querySelector("[data-tail]");
  const list = () => document.getElementById("log-rows");
  const filter = () => location.pathname + location.search;

  // How it stands is read out when it changes; how many have come is only shown.
  function tell(words, more = "") {
    const place = document.getElementById("tail-state");
    if (!place) return;
    [words, more].forEach((part, at) => {
      if (place.children[at].textContent !== part) place.children[at].textContent = part;
    });
  }
  function show() {
    const there = button();
    if (!there) return;
    there.setAttribute("aria-pressed", String(on));
    there.querySelector(".dot").classList.toggle("on", stream !== null);
  }
  const clock = () => new Date().toISOString().slice(11, 19) + " UTC";

  function start() {
    if (!button()) return;
    on = true;
    come = 0;
    since = clock();
    listen();
  }
  function stop(why) {
    leave();
    on = false;
    flush(true);
    show();
    tell(why);
  }
  function leave() {
    if (stream) stream.close();
    stream = null;
  }
  function listen() {
    leave();
    waiting.clear();
    stream = new EventSource(FROM + "/tail" + location.search);
    stream.addEventListener("look", (event) => take(JSON.parse(event.data)));
    stream.addEventListener("error", () => {
      if (!stream) return;
      if (stream.readyState === EventSource.CLOSED) ended();
      else tell("The connection is lost: trying again…");
    });
    show();
    tell("Live: connecting…");
  }
  // The browser does not say why a stream was refused: ask.
  async function ended() {
    leave();
    let why = "The live tail has stopped: cdcd does not answer.";
    try {
      const answer = await fetch(FROM + "/tail" + location.search, { method: "HEAD", headers: { "HX-Request": "true" } });
      if (answer.status === 401) why = "The live tail has stopped: sign in again, your token has expired.";
      else if (answer.status === 503) why = "The live tail has stopped: too many are open already.";
      else why = "The live tail has stopped. Start it again.";
    } catch { /* it does not answer */ }
    stop(why);
  }

  function take(look) {
    const made = document.createElement("template");
    made.innerHTML = look.rows;
    const rows = [...made.content.querySelectorAll("tr")];
    const there = list();
    if (!there) return;
    if (look.all) {
      // Everything as it stands: what is on the page and is not among it is out of date.
      const known = new Set(rows.map((row) => row.id));
      waiting.clear();
      for (const row of [...there.rows]) if (row.id.startsWith("d-") && !known.has(row.id)) row.remove();
    }
    for (const row of rows) {
      const old = document.getElementById(row.id);
      if (old) {
        const focused = old.contains(document.activeElement);
        old.replaceWith(row); // where it stands nothing moves
        if (focused) row.querySelector("a")?.focus({ preventScroll: true });
        waiting.delete(row.id);
      } else {
        if (!look.all && !waiting.has(row.id)) come += 1;
        waiting.set(row.id, row);
      }
    }
    for (const id of look.gone) waiting.set("d-" + id, null);
    flood = look.more;
    const older = document.querySelector("#log-next [data-older]");
    if (older) {
      older.hidden = !look.next;
      if (look.next) older.href = older.dataset.older + look.next;
      older.closest("tr").querySelector("span").textContent = "";
    }
    flush(look.all);
    if (typeof refreshTimes === "function") refreshTimes();
  }

  function held() {
    return matchMedia("(hover: hover)").matches && list()?.matches(":hover");
  }
  function flush(now) {
    const there = list();
    if (!there) return;
    if (!now && held() && waiting.size) return state();
    const fresh = [...waiting].filter(([, row]) => row).sort(([one], [other]) => (one < other ? 1 : -1));
    let before = [...there.rows];
    for (const [id, row] of waiting) if (!row) document.getElementById(id)?.remove();
    before = before.filter((row) => row.isConnected);
    let at = 0;
    for (const [id, row] of fresh) {
      while (at < before.length && before[at].id.startsWith("d-") && before[at].id > id) at += 1;
      if (!now) row.classList.add("fresh");
      there.insertBefore(row, before[at] ?? null);
    }
    waiting = new Map();
    const all = [...there.rows].filter((row) => row.id.startsWith("d-"));
    for (const row of all.slice(MOST)) row.remove();
    const log = document.getElementById("log");
    const empty = document.getElementById("log-empty");
    if (log && empty && all.length) {
      log.hidden = false;
      empty.hidden = true;
    }
    state();
  }
  function state() {
    if (!on || !stream) return;
    const words = [`: ${come.toLocaleString("en").replaceAll(",", "\u202f")} new`];
    if (flood) words.push("more come than can be shown, so only the newest are here");
    if (waiting.size) words.push(`${waiting.size} held while you point at the list`);
    tell(`Live since ${since}`, words.join("; ") + ".");
  }

  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-tail]")) return;
    if (on) stop(`The live tail was stopped at ${clock()}: the list stands still.`);
    else start();
  });
  document.addEventListener("mouseout", () => waiting.size && requestAnimationFrame(() => flush(false)));
  // Another filter: the tail follows it. On an older page there is none.
  let followed = filter();
  document.addEventListener("htmx:afterSettle", () => {
    if (!on) return;
    if (!button() || !list()) return stop("");
    if (followed !== filter()) {
      followed = filter();
      come = 0;
      listen();
    } else show();
  });
  // A page that nobody sees asks for nothing; when it is seen again it shows what there is then.
  document.addEventListener("visibilitychange", () => {
    if (!on) return;
    if (document.hidden) {
      leave();
      tell("The live tail waits until this page is seen.");
    } else listen();
  });
  addEventListener("pagehide", leave);
  addEventListener("pageshow", (event) => event.persisted && on && listen());
  if (location.hash === "#live") {
    history.replaceState(history.state, "", filter());
    start();
  }
})();
