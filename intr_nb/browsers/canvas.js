// A scene in the page: shows it, tells the numbers under the mouse, reports clicks, keys and strokes.
// All text in the SVG was escaped in Python; whatever else comes from data is set as textContent.

const number = v => {
  if (v == 0) return "0";
  const size = Math.abs(v);
  if (size < 1e-4 || size >= 1e5) return v.toExponential(2);
  return v.toFixed(size < .01 ? 5 : size < 10 ? 3 : 1);
};

const corners = rect => ["x", "y", "width", "height"].map(k => +rect.getAttribute(k));

function render({ model, el }) {
  const box = el.appendChild(document.createElement("div"));
  const tip = el.appendChild(document.createElement("div"));
  el.classList.add("intr-nb");
  box.className = "intr-nb-canvas";
  tip.className = "intr-nb-tip";
  tip.hidden = true;
  box.dataset.lmSuppressShortcuts = "true"; // JupyterLab leaves the keys to us
  let stroke = null, line = null;

  // ipywidgets leaves handles of sliders, pickers of colours and the buttons of Play without a name for those
  // who are read to
  const nameControls = () => {
    const view = el.closest(".intr-nb-view");
    view?.querySelectorAll(".widget-slider, .widget-colorpicker").forEach(control => {
      const name = control.querySelector(".widget-label")?.textContent || control.title || "colour";
      const nameless = control.querySelectorAll(".noUi-handle, input[type=color]");
      nameless.forEach(element => element.setAttribute("aria-label", name));
    });
    view?.querySelectorAll(".widget-play button").forEach(button =>
      button.setAttribute("aria-label", button.firstChild.className.replace(/.*fa-/, "")));
  };

  const draw = () => {
    requestAnimationFrame(nameControls);
    box.innerHTML = model.get("svg"); // every text in it was escaped
    tip.hidden = true;
    if (model.get("arrows")) box.tabIndex = 0;
  };

  const shape = (name, attributes) => {
    const s = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [k, v] of Object.entries(attributes)) s.setAttribute(k, v);
    box.firstChild.append(s);
    return s;
  };

  // where in a panel: shares of width and height, row and column of its map
  const place = (event, rect) => {
    const r = rect.getBoundingClientRect(), p = model.get("panels")[rect.dataset.panel];
    const inside = t => Math.min(Math.max(t, 0), .99999);
    const x = inside((event.clientX - r.left) / r.width), y = inside((event.clientY - r.top) / r.height);
    return { p, x, y, row: Math.floor(y * p.rows), column: Math.floor(x * p.columns) };
  };

  // the same position on every map of that grid
  const mark = at => {
    box.querySelectorAll(".intr-nb-position").forEach(c => c.remove());
    if (at) box.querySelectorAll("[data-panel]").forEach(rect => {
      const p = model.get("panels")[rect.dataset.panel];
      if (p.rows != at.p.rows || p.columns != at.p.columns || p.rows * p.columns < 2) return;
      const [x, y, w, h] = corners(rect), width = w / p.columns, height = h / p.rows;
      shape("rect", { class: "intr-nb-position", x: x + at.column * width, y: y + at.row * height, width, height });
    });
  };

  const tell = at => {
    const i = at.row * at.p.columns + at.column;
    const lines = at.p.values.map(v => [v.name, v.data.getFloat32(4 * i, true)])
      .filter(([, v]) => !Number.isNaN(v))
      .map(([name, v]) => name + "  " + number(v));
    if (Math.min(at.p.rows, at.p.columns) > 1)
      lines.unshift(`row ${at.row} of 0 to ${at.p.rows - 1}, column ${at.column} of 0 to ${at.p.columns - 1}`); // as in code
    tip.textContent = [at.p.title, ...lines].join("\n");
    tip.hidden = false;
  };

  box.addEventListener("pointermove", event => {
    const rect = event.target.closest("[data-panel]");
    if (stroke) {
      const at = place(event, stroke.rect), [x, y, w, h] = corners(stroke.rect);
      stroke.path.push([at.x, at.y]);
      line.setAttribute("points", stroke.path.map(([a, b]) => [x + a * w, y + b * h].join()).join(" "));
      return;
    }
    if (!rect) { tip.hidden = true; mark(null); return; }
    const at = place(event, rect);
    tell(at);
    mark(at);
    const r = el.getBoundingClientRect(), left = event.clientX - r.left + 14;
    tip.style.left = Math.max(0, Math.min(left, r.width - tip.offsetWidth - 4)) + "px";
    tip.style.top = event.clientY - r.top + 16 + "px";
  });

  box.addEventListener("pointerleave", () => { tip.hidden = true; mark(null); });

  box.addEventListener("pointerdown", event => {
    const rect = event.target.closest("[data-panel]");
    if (!rect || !model.get("panels")[rect.dataset.panel].drag) return;
    const at = place(event, rect);
    stroke = { rect, path: [[at.x, at.y]], name: at.p.name };
    line = shape("polyline", { class: "intr-nb-stroke" });
    box.setPointerCapture(event.pointerId);
    event.preventDefault();
  });

  box.addEventListener("pointerup", () => {
    if (!stroke) return;
    model.send({ type: "drag", name: stroke.name, path: stroke.path });
    line.remove();
    stroke = null;
  });

  box.addEventListener("click", event => {
    const target = event.target.closest("[data-click]"), rect = event.target.closest("[data-panel]");
    if (model.get("arrows")) box.focus({ preventScroll: true });
    if (target) model.send({ type: "click", name: target.dataset.click });
    else if (rect) {
      const { p, row, column } = place(event, rect);
      if (!p.drag) model.send({ type: "click", name: p.name, row, column });
    }
  });

  // "undo", "redo" or "": only where a browser takes things back, elsewhere the keys stay the page's
  const taken = event => {
    if (!el.closest(".intr-nb-undoes") || !(event.ctrlKey || event.metaKey) || event.altKey) return "";
    const key = event.key.toLowerCase();
    if (key == "z") return event.shiftKey ? "redo" : "undo";
    return key == "y" && !event.shiftKey ? "redo" : "";
  };

  box.addEventListener("keydown", event => {
    const arrow = event.key.startsWith("Arrow") && !event.altKey && !event.ctrlKey && !event.metaKey;
    const type = arrow ? "key" : taken(event);
    if (!model.get("arrows") || !type) return;
    event.preventDefault();
    event.stopPropagation();
    model.send(arrow ? { type, name: event.key } : { type });
  });

  // where the page may: on this machine, or by https
  const heard = message => {
    if (message.copy) navigator.clipboard?.writeText(message.copy).catch(() => {});
  };

  model.on("change:svg", draw);
  model.on("msg:custom", heard);
  draw();
  return () => { model.off("change:svg", draw); model.off("msg:custom", heard); };
}

export default { render };
