"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const json = (id) => JSON.parse(document.getElementById(id).textContent);
  const heard = document.getElementById("heard");
  const say = (text) => { heard.textContent = ""; setTimeout(() => { heard.textContent = text; }, 30); };

  // Light and dark.
  const theme = document.getElementById("theme");
  const dark = () => root.dataset.theme
    ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const named = () => { theme.textContent = dark() ? "Light" : "Dark"; };
  theme.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; named(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", named);
  named();

  // Navigation.
  const nav = document.querySelector("nav"), opener = document.getElementById("sections");
  const unfold = (open) => { nav.classList.toggle("open", open); opener.setAttribute("aria-expanded", open); };
  opener.addEventListener("click", () => unfold(!nav.classList.contains("open")));
  nav.addEventListener("click", (event) => { if (event.target.closest("a")) unfold(false); });
  nav.addEventListener("keydown", (event) => { if (event.key === "Escape") { unfold(false); opener.focus(); } });
  const here = () => {
    const past = all("main section").filter((one) => one.getBoundingClientRect().top < innerHeight / 3);
    const bottom = innerHeight + scrollY >= document.body.scrollHeight - 4;
    const last = bottom ? all("main section").at(-1) : past.at(-1);
    for (const link of all("a", nav)) {
      if (last && link.hash === `#${last.id}`) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  };
  addEventListener("scroll", here, { passive: true });
  here();

  // Copy and save.
  const copied = async (text) => {
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
      const done = await copied(button.dataset.copy);
      button.focus();
      button.classList.toggle("done", done);
      say(done ? "Copied" : "This browser does not let pages copy");
      setTimeout(() => button.classList.remove("done"), 1500);
    });
  }
  const meant = { u003c: "<", u003e: ">", u0026: "&", u2028: "\u2028", u2029: "\u2029" };
  document.getElementById("save").addEventListener("click", () => {
    const text = document.getElementById("maskcli-report").textContent
      .replace(/\\(u003c|u003e|u0026|u2028|u2029|[^])/g, (whole, code) => meant[code] ?? whole);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = "maskcli-report.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });

  // Print: everything unfolded, and what is wider than paper made smaller.
  const PAPER = 680;  // Pixels between the margins of A4, the narrower of the usual two.
  const wide = () => all("main .mk-scroll > *");
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = all("details.tables").filter((one) => !one.open);
    folded.forEach((one) => { one.open = true; });
    const sizes = wide().map((one) => [one, one.getBoundingClientRect()]);
    for (const [one, { width, height }] of sizes) {
      const fixed = { contain: "size", width: `${width}px`, height: `${height}px` };  // Breaks part no line from its ends.
      Object.assign(one.style, one.matches(".mk-level") ? fixed : {}, { zoom: Math.min(1, PAPER / width) });
    }
  });
  addEventListener("afterprint", () => {
    folded.forEach((one) => { one.open = false; });
    wide().forEach((one) => one.removeAttribute("style"));
  });

  // Charts.
  const views = [];
  const params = (spec) => (spec.params ?? []).filter((one) => one.bind);
  const together = (view, spec) => {
    for (const { name, bind } of params(spec).filter((one) => one.name === "sample")) {
      view.addSignalListener(name, (_, value) => {
        for (const other of views) {
          const bound = other.view !== view && params(other.spec).find((one) => one.name === name);
          if (bound && value <= bound.bind.max && other.view.signal(name) !== value) {
            other.view.signal(name, value).runAsync();
          }
        }
      });
    }
  };
  const named_inputs = (figure) => {
    for (const input of all(".controls input, .controls select", figure)) {
      const title = figure.querySelector("figcaption").textContent;
      const name = input.closest(".vega-bind")?.querySelector(".vega-bind-name")?.textContent.trim() ?? input.name;
      input.setAttribute("aria-label", `${name}, ${title}`);
    }
  };

  // What marks say, and where; marks of one view that say the same are one.
  const words = (tip) => typeof tip === "object" && tip !== null
    ? Object.entries(tip).map(([key, value]) => `${key} ${value}`).join(", ") : String(tip);
  const stops = (view) => {
    const found = new Map();
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
              x: x + (x1 + x2) / 2, y: y + (y1 + y2) / 2, w: x2 - x1, h: y2 - y1, group, said: words(item.tooltip),
              solid: mark.marktype === "rect",
            };
            const known = found.get(group)?.get(at.said);
            const better = !known || at.solid > known.solid || (at.solid === known.solid && at.w * at.h > known.w * known.h);
            if (better) found.set(group, (found.get(group) ?? new Map()).set(at.said, at));
          }
        }
      }
    };
    walk(view.scenegraph().root.items[0], left, top);
    return [...found.values()].flatMap((said) => [...said.values()]);
  };
  const next = (from, points, key) => {
    const across = key === "ArrowLeft" || key === "ArrowRight";
    const sign = key === "ArrowRight" || key === "ArrowDown" ? 1 : -1;
    const ahead = (one) => sign * (across ? one.x - from.x : one.y - from.y);
    const aside = (one) => Math.abs(across ? one.y - from.y : one.x - from.x);
    const nearest = (some) => {
      const reach = Math.min(...some.map(ahead));
      return some.filter((one) => ahead(one) <= reach + 1.5).sort((a, b) => aside(a) - aside(b))[0];
    };
    const in_front = points.filter((one) => ahead(one) > 1.5);
    const own = in_front.filter((one) => one.group === from.group);
    const in_line = own.filter((one) => aside(one) <= 1.5);
    return nearest(in_line.length ? in_line : own.length ? own : in_front.length ? in_front : [from]);
  };
  const walkable = (figure, box, view) => {
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
      readout.textContent = at.said;
    };
    const leave = () => { at = null; cursor.remove(); readout.textContent = ""; };
    box.addEventListener("focus", () => {
      if (!at && box.matches(":focus-visible")) readout.textContent = "Arrow keys go from value to value, Escape leaves.";
    });
    box.addEventListener("blur", leave);
    box.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      if (event.key === "Escape") { leave(); box.blur(); return; }
      if (!["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"].includes(event.key)) return;
      const points = stops(view);
      if (!points.length) return;
      event.preventDefault();
      const from = at && (points.find((one) => one.x === at.x && one.y === at.y) ?? points[0]);
      const reading = [...points].sort((a, b) => a.y - b.y || a.x - b.x);
      if (event.key === "Home" || !from) show(reading[0]);
      else if (event.key === "End") show(reading.at(-1));
      else show(next(from, points, event.key));
    });
    view.addResizeListener(leave);
  };
  const LARGEST = 1.3;
  const fit = (plot) => {  // A chart with room beside it is drawn larger.
    const svg = plot.querySelector("svg"), natural = svg.getAttribute("width"), box = plot.closest(".box");
    const { paddingLeft, paddingRight } = getComputedStyle(box);
    const room = box.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight);
    svg.style.width = `${natural * Math.min(LARGEST, Math.max(1, room / natural))}px`;
    svg.style.height = "auto";
  };
  const draw = async (plot) => {
    const figure = plot.closest("figure"), spec = json(plot.dataset.spec);
    const { view } = await vegaEmbed(plot, spec, {
      mode: "vega-lite", renderer: "svg", actions: false, ast: true, defaultStyle: false, hover: false,
      bind: figure.querySelector(".controls"), tooltip: { disableDefaultStyle: true, theme: "page" },
    });
    const svg = plot.querySelector("svg");
    svg.setAttribute("aria-hidden", "true");
    fit(plot);
    new ResizeObserver(() => fit(plot)).observe(plot.closest(".box"));
    view.addResizeListener(() => fit(plot));
    views.push({ view, spec });
    together(view, spec);
    named_inputs(figure);
    walkable(figure, plot.closest(".box"), view);
  };
  const failed = (plot, error) => {
    plot.textContent = "This chart could not be drawn; the table below holds its numbers.";
    console.error(error);
  };
  (async () => {
    for (const plot of all(".plot")) {
      try { await draw(plot); } catch (error) { failed(plot, error); }
      await new Promise((then) => setTimeout(then));
    }
    root.dataset.charts = "drawn";
  })();
})();
