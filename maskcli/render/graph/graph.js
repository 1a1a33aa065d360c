// Draws the lines of the graph between nodes that the browser has laid out, highlights them, and folds boxes.
(() => {
  "use strict";
  const ORDER = ["plain", "lost", "mask", "argument"];
  const element = (name, attributes) => {
    const shape = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) shape.setAttribute(key, value);
    return shape;
  };
  const clamp = (value, most) => Math.max(-most, Math.min(most, value));
  const lean = (box, across, shift) => clamp(across * 0.15 + shift, Math.max(0, Math.min(box.half - 10, 26)));

  function boxOf(item, origin, scale) {
    const inner = (item.firstElementChild || item).getBoundingClientRect();
    const row = item.getBoundingClientRect(), down = (y) => (y - origin.top) / scale;
    return {
      x: (inner.left + inner.width / 2 - origin.left) / scale, half: inner.width / 2 / scale,
      top: down(inner.top), bottom: down(inner.bottom), rowTop: down(row.top), rowBottom: down(row.bottom),
    };
  }

  function bend(x, y, toX, toY) {
    const middle = (y + toY) / 2;
    return Math.abs(x - toX) < 0.5 ? `L${toX} ${toY}` : `C${x} ${middle} ${toX} ${middle} ${toX} ${toY}`;
  }

  function pathOf(boxes, shift) {
    const last = boxes.length - 1;
    let x = boxes[0].x + lean(boxes[0], boxes[1].x - boxes[0].x, shift), y = boxes[0].bottom;
    let path = `M${x} ${y}`;
    boxes.slice(1).forEach((box, at) => {
      const end = at + 1 === last, from = Math.max(y, boxes[at].rowBottom);
      const toX = box.x + (end ? lean(box, boxes[at].x - box.x, shift) : 0), toY = end ? box.top - 6 : box.rowTop;
      path += `L${x} ${from}` + bend(x, from, toX, Math.min(toY, box.rowTop - 6)) + `L${toX} ${toY}`;
      path += end ? "" : `L${toX} ${box.rowBottom}`;
      x = toX;
      y = box.rowBottom;
    });
    return { path, x, y: boxes[last].top };
  }

  function line(flow, boxes, shift) {
    const { path, x, y } = pathOf(boxes, shift);
    const group = element("g", { class: `mk-${flow.kind}`, "data-ends": `${flow.route[0]} ${flow.route.at(-1)}` });
    const wide = flow.kind === "mask" ? 6.5 : 5, middle = boxes.at(-1).x;
    const head = `M${x - wide} ${y - 9}L${x} ${y}L${x + wide} ${y - 9}Z`;
    group.append(element("path", { class: "mk-line", d: path }), element("path", { class: "mk-arrow", d: head }));
    if (flow.label) {
      const left = x < middle - 1;
      const text = element("text", { x: x + (left ? -10 : 10), y: y - 5, "text-anchor": left ? "end" : "start" });
      text.textContent = flow.label;
      group.append(text);
    }
    return group;
  }

  function draw(level) {
    const svg = level.querySelector(":scope > .mk-lines"), rows = level.querySelector(":scope > .mk-rows");
    const origin = rows.getBoundingClientRect();
    if (!origin.width) return;
    const scale = origin.width / rows.offsetWidth;  // Below 1 if print shrinks the graph.
    const boxes = [...rows.children].map((item) => boxOf(item, origin, scale));
    const flows = JSON.parse(level.dataset.mkFlows), drawn = {}, times = {};
    for (const flow of flows) times[flow.route] = (times[flow.route] || 0) + 1;
    const lines = flows.map((flow) => {
      drawn[flow.route] = (drawn[flow.route] || 0) + 1;
      const shift = 22 * (drawn[flow.route] - (times[flow.route] + 1) / 2);
      return [flow.kind, line(flow, flow.route.map((cell) => boxes[cell]), shift)];
    });
    lines.sort(([left], [right]) => ORDER.indexOf(left) - ORDER.indexOf(right));
    const lit = [...svg.children].map((group) => group.classList.contains("mk-on"));  // In the same order.
    lines.forEach(([, group], at) => group.classList.toggle("mk-on", lit[at] ?? false));
    svg.replaceChildren(...lines.map(([, group]) => group));
  }

  function light(event, graph) {
    const item = event.target.closest?.(".mk-rows > li");
    for (const lit of graph.querySelectorAll(".mk-some")) {
      lit.classList.remove("mk-some");
      for (const group of lit.querySelectorAll(".mk-on")) group.classList.remove("mk-on");
    }
    if (!item || event.type === "pointerleave" || event.type === "focusout") return;
    const svg = item.parentElement.previousElementSibling;
    const place = String([...item.parentElement.children].indexOf(item));
    const near = [...svg.children].filter((group) => group.dataset.ends.split(" ").includes(place));
    if (near.length) svg.classList.add("mk-some");
    for (const group of near) group.classList.add("mk-on");
  }

  const SMALLEST = 0.8;  // Below this scale the text is too small to read.

  function fit(graph) {  // A graph that is a little too wide is drawn smaller instead of cut off.
    const scroll = graph.querySelector(".mk-scroll"), level = scroll.querySelector(".mk-level");
    const { paddingLeft, paddingRight } = getComputedStyle(scroll);
    const room = scroll.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight);
    level.style.zoom = "";
    const scale = room / level.getBoundingClientRect().width;
    if (scale < 1) level.style.zoom = Math.max(SMALLEST, scale);
  }

  function start(graph) {
    const levels = [...graph.querySelectorAll(".mk-level")];
    let due = 0;
    const redraw = () => { due = 0; levels.forEach(draw); };
    const soon = () => { due ||= requestAnimationFrame(redraw); };
    const adapt = () => { fit(graph); soon(); };
    adapt();
    let width = innerWidth, printing = false;  // The page itself fits the graph to paper.
    addEventListener("resize", () => { if (innerWidth !== width && !printing) adapt(); width = innerWidth; });
    addEventListener("beforeprint", () => { printing = true; });
    addEventListener("afterprint", () => { printing = false; adapt(); });
    const observer = new ResizeObserver(soon);
    levels.forEach((level) => observer.observe(level));
    graph.addEventListener("toggle", adapt, true);
    for (const kind of ["pointerover", "pointerleave", "focusin", "focusout"]) {
      graph.addEventListener(kind, (event) => light(event, graph));
    }
    addEventListener("beforeprint", redraw);
    document.fonts?.ready.then(soon);
    const tools = graph.querySelector(".mk-tools");
    tools.hidden = !graph.querySelector(".mk-box");
    tools.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      for (const box of graph.querySelectorAll(".mk-box")) box.open = button.dataset.mkFold === "open";
    });
    redraw();
    const scroll = graph.querySelector(".mk-scroll"), view = scroll.getBoundingClientRect();
    const first = graph.querySelector(".mk-rows .mk-drops, .mk-rows .mk-creates, .mk-pill")?.getBoundingClientRect();
    if (first) scroll.scrollLeft = first.left + first.width / 2 - view.left - view.width / 2;
  }

  const all = () => document.querySelectorAll(".mk-graph:not([data-mk-drawn])").forEach((graph) => {
    graph.dataset.mkDrawn = "";
    start(graph);
  });
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", all);
  else all();
})();
