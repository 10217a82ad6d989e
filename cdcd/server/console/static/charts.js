// Charts that move: one stream of samples feeds every chart of the page. A chart is an element with what it shows in `data-series`. With the
// samples come parts of the page. What has `data-stream` says whether it flows.
"use strict";

(() => {
  const places = [...document.querySelectorAll("[data-chart]")];
  const source = document.querySelector("[data-samples]");
  if (!source) return;
  const SHOWN = 300; // seconds
  const samples = [];

  const units = {
    rate: (v) => (v >= 100 ? Math.round(v).toLocaleString("en") : String(+v.toFixed(v >= 10 ? 1 : 2))) + "/s",
    count: (v) => Math.round(v).toLocaleString("en"),
    time: (v) => (v === 0 ? "0" : v < 1 ? (v < 0.1 ? +(v * 1000).toFixed(1) : Math.round(v * 1000)) + " ms" : v < 60 ? +v.toFixed(2) + " s" : v < 7200 ? Math.round(v / 60) + " min" : Math.round(v / 3600) + " h"),
    bytes: (v) => {
      const names = ["B", "kB", "MB", "GB", "TB"];
      let at = 0;
      while (Math.abs(v) >= 1024 && at < names.length - 1) { v /= 1024; at += 1; }
      return (at ? +v.toFixed(1) : Math.round(v)) + " " + names[at];
    },
  };
  const steps = { bytes: [1, 2, 4, 8, 16, 32, 64, 128, 256, 512].flatMap((n) => [n, n * 1024, n * 1048576, n * 1073741824]).sort((a, b) => a - b) };

  function value(sample, key) {
    let found = sample;
    for (const name of key.split("/")) found = found == null ? null : found[name];
    return found ?? null;
  }

  function colour(className, property = "color") {
    const probe = document.createElement("span");
    probe.className = className;
    document.body.append(probe);
    const found = getComputedStyle(probe)[property];
    probe.remove();
    return found;
  }

  function alone(values) {
    return [...values.keys()].filter((at) => values[at] != null && values[at - 1] == null && values[at + 1] == null);
  }

  const charts = places.map((place) => {
    const series = JSON.parse(place.dataset.series);
    const format = units[place.dataset.chart];
    const legend = document.getElementById(place.dataset.legend);
    const marks = legend ? [...legend.querySelectorAll("b")] : [];
    let plot = null;

    function data() {
      return [samples.map((s) => s.t), ...series.map((one) => samples.map((s) => value(s, one.key)))];
    }

    function build() {
      if (plot) plot.destroy();
      const soft = colour("soft");
      const line = colour("chart-line", "borderTopColor");
      const font = "12px " + getComputedStyle(document.body).fontFamily;
      const axis = { stroke: soft, grid: { stroke: line, width: 1 }, ticks: { show: false }, font };
      plot = new uPlot(
        {
          width: place.clientWidth,
          height: place.clientHeight,
          legend: { show: false },
          cursor: { points: { size: 7 }, drag: { x: false, y: false }, focus: { prox: -1 } },
          scales: {
            x: { time: true, range: () => { const end = samples.length ? samples.at(-1).t : Date.now() / 1000; return [end - SHOWN, end]; } },
            y: { range: (_, low, high) => [0, Math.max(high * 1.15 || 0, Number(place.dataset.least || 1))] },
          },
          axes: [
            { ...axis, size: 30, space: 70, values: (_, splits) => splits.map((at) => new Date(at * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" })), incrs: [60, 120, 300] },
            { ...axis, size: 66, gap: 6, space: 34, values: (_, splits) => splits.map((v) => format(v)), ...(place.dataset.chart === "bytes" ? { incrs: steps.bytes } : {}), ...(place.dataset.chart === "count" ? { incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6] } : {}) },
          ],
          series: [
            {},
            ...series.map((one) => ({
              label: one.label,
              stroke: colour(one.look),
              width: 2,
              dash: one.dash ? [5, 4] : undefined,
              fill: one.fill ? colour(one.look).replace(/^rgb\((.*)\)$/, "rgba($1, 0.12)") : undefined,
              // A value that stands alone has no line: it is a dot.
              points: { show: true, size: 5, width: 1, filter: (plot, at) => alone(plot.data[at]) },
              spanGaps: false,
            })),
          ],
          hooks: { setCursor: [show] },
        },
        data(),
        place,
      );
    }

    // The legend shows the values under the pointer, else the newest.
    function show() {
      const at = plot && plot.cursor.idx != null && plot.cursor.left >= 0 ? plot.cursor.idx : samples.length - 1;
      marks.forEach((mark, index) => {
        const found = at < 0 ? null : value(samples[at], series[index].key);
        mark.textContent = found == null ? "–" : format(found);
      });
    }

    new ResizeObserver(() => {
      if (plot && place.clientWidth) plot.setSize({ width: place.clientWidth, height: place.clientHeight });
    }).observe(place);
    document.addEventListener("themed", () => requestAnimationFrame(build));
    build();
    return () => {
      plot.setData(data());
      show();
    };
  });

  function add(sample) {
    if (samples.length && sample.t <= samples.at(-1).t) return;
    // Where nobody sampled, the line is broken.
    if (samples.length && sample.t - samples.at(-1).t > 5) samples.push({ t: samples.at(-1).t + 1 });
    samples.push(sample);
    while (samples.length && samples[0].t < sample.t - SHOWN - 5) samples.shift();
  }

  function draw() {
    charts.forEach((refresh) => refresh());
    const last = samples.at(-1);
    for (const place of last ? document.querySelectorAll("[data-now]") : []) {
      const found = value(last, place.dataset.now);
      const words = found == null ? "–" : units[place.dataset.unit](found);
      if (place.textContent !== words) place.textContent = words;
    }
  }

  // Whether it flows, for whoever reads: after a moment, since a page that is left closes its stream too.
  let told = null;
  function tell(state) {
    clearTimeout(told);
    told = setTimeout(() => {
      for (const place of document.querySelectorAll("[data-stream]")) {
        if (place.dataset.stream === state) continue;
        place.dataset.stream = state;
        place.textContent = { live: "live", waiting: "cdcd does not answer; trying again", ended: "not live any more: load the page again" }[state];
      }
    }, state === "live" ? 0 : 1000);
  }

  // Parts of the page come with the samples: elements with `data-live` and an id.
  function patch(html) {
    const made = document.createElement("template");
    made.innerHTML = html;
    prepare(made.content);
    const focused = document.activeElement;
    for (const fresh of made.content.querySelectorAll("[data-live]")) {
      const there = document.getElementById(fresh.id);
      if (there) merge(there, fresh, []);
    }
    if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
    refreshTimes();
  }

  let stream = null;
  function listen() {
    if (stream) return;
    stream = new EventSource(source.dataset.samples);
    stream.addEventListener("open", () => tell("live"));
    stream.addEventListener("part", (event) => patch(event.data));
    stream.addEventListener("history", (event) => {
      for (const sample of JSON.parse(event.data)) add(sample);
      draw();
    });
    stream.addEventListener("sample", (event) => {
      add(JSON.parse(event.data));
      draw();
    });
    stream.addEventListener("error", () => {
      if (!stream) return;
      const ended = stream.readyState === EventSource.CLOSED;
      tell(ended ? "ended" : "waiting");
      if (ended) leave();
    });
  }
  function leave() {
    if (stream) stream.close();
    stream = null;
  }
  // A page that nobody sees asks for nothing.
  document.addEventListener("visibilitychange", () => (document.hidden ? leave() : listen()));
  addEventListener("pagehide", leave);
  addEventListener("pageshow", listen);
  if (!document.hidden) listen();
})();
