"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const json = (id) => JSON.parse(document.getElementById(id).textContent);
  const liveRegion = document.getElementById("heard");
  const announce = (text) => { liveRegion.textContent = ""; setTimeout(() => { liveRegion.textContent = text; }, 30); };

  // Light and dark.
  const theme = document.getElementById("theme");
  const dark = () => root.dataset.theme
    ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const updateLabel = () => { theme.textContent = dark() ? "Light" : "Dark"; };
  theme.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; updateLabel(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", updateLabel);
  updateLabel();

  // Navigation.
  const nav = document.querySelector("nav"), opener = document.getElementById("sections");
  const unfold = (open) => { nav.classList.toggle("open", open); opener.setAttribute("aria-expanded", open); };
  opener.addEventListener("click", () => unfold(!nav.classList.contains("open")));
  nav.addEventListener("click", (event) => { if (event.target.closest("a")) unfold(false); });
  nav.addEventListener("keydown", (event) => { if (event.key === "Escape") { unfold(false); opener.focus(); } });
  const markSection = () => {
    const past = all("main section").filter((section) => section.getBoundingClientRect().top < innerHeight / 3);
    const bottom = innerHeight + scrollY >= document.body.scrollHeight - 4;
    const last = bottom ? all("main section").at(-1) : past.at(-1);
    for (const link of all("a", nav)) {
      if (last && link.hash === `#${last.id}`) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  };
  addEventListener("scroll", markSection, { passive: true });
  markSection();

  // Copy and save.
  const copyText = async (text) => {
    try { await navigator.clipboard.writeText(text); return true; } catch {
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      return done;
    }
  };
  for (const button of all("button[data-copy]")) {
    button.addEventListener("click", async () => {
      const done = await copyText(button.dataset.copy);
      button.focus();
      button.classList.toggle("done", done);
      announce(done ? "Copied" : "This browser does not let pages copy");
      setTimeout(() => button.classList.remove("done"), 1500);
    });
  }
  const unescaped = { u003c: "<", u003e: ">", u0026: "&", u2028: "\u2028", u2029: "\u2029" };
  document.getElementById("save").addEventListener("click", () => {
    const text = document.getElementById("maskcli-report").textContent
      .replace(/\\(u003c|u003e|u0026|u2028|u2029|[^])/g, (whole, code) => unescaped[code] ?? whole);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = "maskcli-report.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });

  // Print: everything unfolded, and elements wider than the paper scaled down.
  const PAPER = 680;  // Pixels between the margins of A4, the narrower of the usual two.
  const wide = () => all("main .mk-scroll > *");
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = all("details.tables").filter((details) => !details.open);
    folded.forEach((details) => { details.open = true; });
    wide().forEach((element) => element.removeAttribute("style"));
    const sizes = wide().map((element) => [element, element.getBoundingClientRect()]);
    for (const [element, { width, height }] of sizes) {
      const fixed = { contain: "size", width: `${width}px`, height: `${height}px` };  // Keeps lines attached to their ends across pages.
      Object.assign(element.style, element.matches(".mk-level") ? fixed : {}, { zoom: Math.min(1, PAPER / width) });
    }
  });
  addEventListener("afterprint", () => {
    folded.forEach((details) => { details.open = false; });
    wide().forEach((element) => element.removeAttribute("style"));
  });

  // Elements that scroll sideways fade where they go on, and say so.
  const scrollers = all("main .mk-scroll, main .box, main pre");
  const markScroller = (element) => {
    const hidden = element.scrollWidth - element.clientWidth, at = element.scrollLeft;
    element.classList.toggle("before", hidden > 2 && at > 2);
    element.classList.toggle("after", hidden > 2 && at < hidden - 2);
    const hint = element.nextElementSibling;
    if (hint?.matches(".hint")) hint.hidden = hidden <= 2;
    else if (hidden > 2 && !element.matches("pre")) {
      const text = document.createElement("p");
      text.className = "hint";
      text.textContent = "↔ Scroll sideways for the rest";
      element.after(text);
    }
  };
  const resized = new ResizeObserver((entries) => entries.forEach(({ target }) => {
    markScroller(target.matches(".mk-scroll, .box, pre") ? target : target.parentElement);
  }));
  for (const element of scrollers) {
    element.addEventListener("scroll", () => markScroller(element), { passive: true });
    [element, ...element.children].forEach((part) => resized.observe(part));
  }

  // Charts.
  const views = new Map();  // By the element that each is drawn in.
  const params = (spec) => (spec.params ?? []).filter((param) => param.bind);
  const selectSample = (value, source) => {
    for (const { view, spec } of views.values()) {
      const bound = view !== source && params(spec).find((param) => param.name === "sample");
      if (bound && value <= bound.bind.max && view.signal("sample") !== value) view.signal("sample", value).runAsync();
    }
  };
  const linkSamples = (view, spec) => {
    if (params(spec).some((param) => param.name === "sample")) {
      view.addSignalListener("sample", (_, value) => selectSample(value, view));
    }
  };

  // Links of findings: to a sample, and to a call of the graph.
  for (const link of all("a[data-sample]")) {
    link.addEventListener("click", () => selectSample(Number(link.dataset.sample)));
  }
  for (const link of all("a[data-call]")) {
    link.addEventListener("click", (event) => {
      const node = all("[data-mk-call]").find((candidate) => candidate.dataset.mkCall === link.dataset.call);
      if (!node) return;
      event.preventDefault();
      for (let box = node.parentElement.closest("details"); box; box = box.parentElement.closest("details")) box.open = true;
      node.scrollIntoView({ block: "center", inline: "center" });
      node.querySelector("summary").focus({ preventScroll: true });
      node.classList.add("pointed");
      setTimeout(() => node.classList.remove("pointed"), 2500);
    });
  }
  const labelInputs = (figure) => {
    for (const input of all(".controls input, .controls select", figure)) {
      const title = figure.querySelector("figcaption").textContent;
      const name = input.closest(".vega-bind")?.querySelector(".vega-bind-name")?.textContent.trim() ?? input.name;
      input.setAttribute("aria-label", `${name}, ${title}`);
    }
  };

  // Tooltips and places of the marks; marks of a view with the same tooltip are merged.
  const formatTooltip = (tip) => typeof tip === "object" && tip !== null
    ? Object.entries(tip).map(([key, value]) => `${key} ${value}`).join(", ") : String(tip);
  const findMarks = (view) => {
    const marks = new Map();
    const [left, top] = view.origin();
    const walk = (group, x, y) => {
      for (const mark of group.items ?? []) {
        if (mark.marktype === "group") {
          mark.items.forEach((inner) => walk(inner, x + (inner.x ?? 0), y + (inner.y ?? 0)));
        } else if (mark.role === "mark") {
          for (const item of mark.items) {
            if (item.tooltip === undefined || item.tooltip === null || item.opacity === 0) continue;
            const { x1, y1, x2, y2 } = item.bounds;
            const at = {
              x: x + (x1 + x2) / 2, y: y + (y1 + y2) / 2, w: x2 - x1, h: y2 - y1, group, text: formatTooltip(item.tooltip),
              solid: mark.marktype === "rect",
            };
            const previous = marks.get(group)?.get(at.text);
            const better = !previous || at.solid > previous.solid || (at.solid === previous.solid && at.w * at.h > previous.w * previous.h);
            if (better) marks.set(group, (marks.get(group) ?? new Map()).set(at.text, at));
          }
        }
      }
    };
    walk(view.scenegraph().root.items[0], left, top);
    return [...marks.values()].flatMap((byText) => [...byText.values()]);
  };
  const next = (from, points, key) => {
    const across = key === "ArrowLeft" || key === "ArrowRight";
    const sign = key === "ArrowRight" || key === "ArrowDown" ? 1 : -1;
    const ahead = (point) => sign * (across ? point.x - from.x : point.y - from.y);
    const offset = (point) => Math.abs(across ? point.y - from.y : point.x - from.x);
    const nearest = (candidates) => {
      const reach = Math.min(...candidates.map(ahead));
      return candidates.filter((point) => ahead(point) <= reach + 1.5).sort((a, b) => offset(a) - offset(b))[0];
    };
    const inFront = points.filter((point) => ahead(point) > 1.5);
    const sameGroup = inFront.filter((point) => point.group === from.group);
    const inLine = sameGroup.filter((point) => offset(point) <= 1.5);
    return nearest(inLine.length ? inLine : sameGroup.length ? sameGroup : inFront.length ? inFront : [from]);
  };
  const addKeyboard = (figure, box, current) => {
    const readout = figure.querySelector(".readout"), cursor = document.createElement("div");
    cursor.className = "cursor";
    let at = null;
    const show = (point, points) => {
      at = point;
      const plot = box.querySelector("svg").getBoundingClientRect(), frame = box.getBoundingClientRect();
      const grow = 1.5, scale = plot.width / box.querySelector("svg").getAttribute("width");
      cursor.style.left = `${plot.left - frame.left + box.scrollLeft + scale * (at.x - at.w / 2) - grow}px`;
      cursor.style.top = `${plot.top - frame.top + box.scrollTop + scale * (at.y - at.h / 2) - grow}px`;
      cursor.style.width = `${scale * at.w + 2 * grow}px`;
      cursor.style.height = `${scale * at.h + 2 * grow}px`;
      box.append(cursor);
      cursor.scrollIntoView({ block: "nearest", inline: "nearest" });
      readout.textContent = at.text;
    };
    const leave = () => { at = null; cursor.remove(); readout.textContent = ""; };
    box.addEventListener("focus", () => {
      if (!at && box.matches(":focus-visible")) readout.textContent = "Arrow keys move between values; Escape leaves the chart.";
    });
    box.addEventListener("blur", leave);
    box.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      if (event.key === "Escape") { leave(); box.blur(); return; }
      if (!["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"].includes(event.key)) return;
      const points = findMarks(current());
      if (!points.length) return;
      event.preventDefault();
      const from = at && (points.find((point) => point.x === at.x && point.y === at.y) ?? points[0]);
      const reading = [...points].sort((a, b) => a.y - b.y || a.x - b.x);
      if (event.key === "Home" || !from) show(reading[0]);
      else if (event.key === "End") show(reading.at(-1));
      else show(next(from, points, event.key));
    });
    new ResizeObserver(leave).observe(box.querySelector(".plot"));
  };
  const SMALLEST = 0.8, LARGEST = 1.35, NARROW = 0.75;
  const roomOf = (plot) => {
    const box = plot.closest(".box"), { paddingLeft, paddingRight } = getComputedStyle(box);
    return box.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight);
  };
  const fit = (plot) => {  // A chart is as wide as its column, up to a scale at which its text stays readable.
    const svg = plot.querySelector("svg"), natural = svg.getAttribute("width");
    svg.style.width = `${natural * Math.min(LARGEST, Math.max(SMALLEST, roomOf(plot) / natural))}px`;
    svg.style.height = "auto";
  };
  const makeSpec = ({ spec, narrow }, isNarrow, old) => {
    const copy = structuredClone(spec);
    for (const [path, value] of isNarrow ? narrow : []) {
      path.slice(0, -1).reduce((part, key) => part[key], copy)[path.at(-1)] = value;
    }
    for (const param of old ? params(copy) : []) param.value = old.signal(param.name);
    return copy;
  };
  const draw = async (plot, data, isNarrow) => {
    const figure = plot.closest("figure"), controls = figure.querySelector(".controls"), old = views.get(plot)?.view;
    const spec = makeSpec(data, isNarrow, old);
    old?.finalize();
    controls.replaceChildren();
    const { view } = await vegaEmbed(plot, spec, {
      mode: "vega-lite", renderer: "svg", actions: false, ast: true, defaultStyle: false, hover: false,
      bind: controls, tooltip: { disableDefaultStyle: true, theme: "page" },
    });
    plot.querySelector("svg").setAttribute("aria-hidden", "true");
    fit(plot);
    view.addResizeListener(() => fit(plot));
    views.set(plot, { view, spec });
    linkSamples(view, spec);
    labelInputs(figure);
  };
  const start = async (plot) => {
    const data = json(plot.dataset.spec), box = plot.closest(".box");
    const isNarrow = () => roomOf(plot) < NARROW * data.width;
    let drawn = isNarrow(), busy = true;
    await draw(plot, data, drawn);
    addKeyboard(plot.closest("figure"), box, () => views.get(plot).view);
    const adapt = async () => {
      if (busy) return;
      fit(plot);
      if (isNarrow() === drawn) return;
      busy = true;
      drawn = isNarrow();
      await draw(plot, data, drawn);
      busy = false;
      adapt();
    };
    busy = false;
    new ResizeObserver(adapt).observe(box);
  };
  const showFailure = (plot, error) => {
    plot.textContent = "This chart could not be drawn; the table below contains its numbers.";
    console.error(error);
  };
  (async () => {
    for (const plot of all(".plot")) {
      try { await start(plot); } catch (error) { showFailure(plot, error); }
      await new Promise((then) => setTimeout(then));
    }
    root.dataset.charts = "drawn";
  })();
})();
