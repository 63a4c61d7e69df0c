"use strict";
// Three linked planes of the volumes in #volumes, on Canvas 2D. Arrays are [x][y][z], x to the right, y to the front, z up.
(async () => {
  const volumes = JSON.parse(document.getElementById("volumes").textContent);
  const root = document.getElementById("viewer");
  const [shape, zooms] = [volumes.shape, volumes.zooms];
  const SIDES = [["L", "R"], ["P", "A"], ["I", "S"]];
  const NAMES = ["sagittal", "coronal", "axial"];
  const BAR_MM = [50, 20, 10, 5];

  // ---- volumes
  const strides = [shape[1] * shape[2], shape[2], 1];
  async function decode(layer) {
    const image = new Image();
    image.src = layer.uri;
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.width, image.height];
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    const pixels = context.getImageData(0, 0, image.width, image.height).data;
    const out = new Uint8Array(shape[0] * shape[1] * shape[2]);
    const axis = volumes.axis;
    const [across, up] = [0, 1, 2].filter((a) => a !== axis);
    for (let k = 0; k < shape[axis]; k++) {
      const tile = layer.tiles[k];
      const left = (tile % layer.columns) * layer.tile[0];
      const top = Math.floor(tile / layer.columns) * layer.tile[1];
      for (let r = 0; r < shape[up]; r++) {
        let source = 4 * ((top + r) * image.width + left);
        let target = k * strides[axis] + r * strides[up];
        for (let q = 0; q < shape[across]; q++, source += 4, target += strides[across]) out[target] = pixels[source];
      }
    }
    delete layer.uri;
    return out;
  }
  const layers = [];
  for (const layer of volumes.layers) {
    layers.push({ ...layer, codes: await decode(layer), value: (c) => layer.low + (c / 255) * (layer.high - layer.low) });
  }
  const find = (name) => layers.find((layer) => layer.name === name);
  const [spline, ours] = [find("B-spline"), find(volumes.main)];
  if (spline && ours) {
    const codes = new Uint8Array(ours.codes.length);
    const most = 0.3 * (ours.window[1] - ours.window[0]);
    for (let i = 0; i < codes.length; i++) {
      const difference = ours.value(ours.codes[i]) - spline.value(spline.codes[i]);
      codes[i] = Math.max(0, Math.min(255, Math.round(127.5 + (127.5 * difference) / most)));
    }
    const value = (c) => ((c - 127.5) / 127.5) * most;
    layers.push({ name: "difference", group: ours.group, difference: true, low: -most, high: most, window: [-most, most], codes, value });
  }

  // ---- colours
  const INFERNO = [[0, 0, 4], [31, 12, 72], [85, 15, 109], [136, 34, 106], [186, 54, 85], [227, 89, 51], [249, 140, 10], [249, 201, 50], [252, 255, 164]];
  const DIVERGING = [[60, 120, 255], [24, 48, 128], [0, 0, 0], [128, 40, 20], [255, 120, 60]];
  function colour(stops, t) {
    const place = Math.max(0, Math.min(1, t)) * (stops.length - 1);
    const i = Math.min(stops.length - 2, Math.floor(place));
    return stops[i].map((v, c) => v + (place - i) * (stops[i + 1][c] - v));
  }
  const state = {
    cursor: [...volumes.cursor], layer: layers.indexOf(ours), other: Math.max(0, layers.indexOf(ours) - 1),
    windows: {}, cross: true, smooth: true,
  };
  const kindOf = (layer) => `${layer.group} ${layer.deviation}`; // those of one unit are as bright as each other
  function usualWindows() {
    for (const layer of [...layers].reverse()) if (!layer.difference) state.windows[kindOf(layer)] = [...layer.window];
  }
  usualWindows();
  const windowOf = (layer) => (layer.difference ? layer.window : state.windows[kindOf(layer)]);
  function table(layer) {
    const [low, high] = windowOf(layer);
    const stops = layer.deviation ? INFERNO : layer.difference ? DIVERGING : [[0, 0, 0], [255, 255, 255]];
    const out = new Uint32Array(256);
    for (let c = 0; c < 256; c++) {
      const [r, g, b] = colour(stops, (layer.value(c) - low) / Math.max(high - low, 1e-12)).map(Math.round);
      out[c] = (255 << 24) | (b << 16) | (g << 8) | r;
    }
    return out;
  }

  // ---- planes
  const order = [2, 1, 0];
  const views = order.map((axis) => {
    const [across, up] = [0, 1, 2].filter((a) => a !== axis);
    const canvas = document.createElement("canvas");
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    canvas.dataset.plane = NAMES[axis];
    const box = document.createElement("div");
    box.className = "plane";
    box.style.flexGrow = shape[across] * zooms[across];
    box.append(canvas);
    root.querySelector(".planes").append(box);
    const small = document.createElement("canvas");
    [small.width, small.height] = [shape[across], shape[up]];
    return { axis, across, up, canvas, small, image: new ImageData(shape[across], shape[up]) };
  });
  let scale = 1; // device pixels per mm
  function fit() {
    const pixels = window.devicePixelRatio || 1;
    scale = Math.min(...views.map((v) => (v.canvas.parentElement.clientWidth * pixels) / (shape[v.across] * zooms[v.across])));
    for (const v of views) {
      v.canvas.width = Math.max(1, Math.round(shape[v.across] * zooms[v.across] * scale));
      v.canvas.height = Math.max(1, Math.round(shape[v.up] * zooms[v.up] * scale));
      v.canvas.style.width = `${v.canvas.width / pixels}px`;
      v.canvas.style.height = `${v.canvas.height / pixels}px`;
    }
    draw();
  }
  function draw() {
    const layer = layers[state.layer];
    const lut = table(layer);
    for (const v of views) {
      const pixels = new Uint32Array(v.image.data.buffer);
      const [w, h] = [shape[v.across], shape[v.up]];
      const start = state.cursor[v.axis] * strides[v.axis];
      for (let r = 0; r < h; r++) {
        let source = start + (h - 1 - r) * strides[v.up];
        for (let q = 0; q < w; q++, source += strides[v.across]) pixels[r * w + q] = lut[layer.codes[source]];
      }
      v.small.getContext("2d").putImageData(v.image, 0, 0);
      const context = v.canvas.getContext("2d");
      const [width, height] = [v.canvas.width, v.canvas.height];
      context.imageSmoothingEnabled = state.smooth;
      context.drawImage(v.small, 0, 0, width, height);
      annotate(context, v, width, height);
      v.canvas.setAttribute("aria-label", `${NAMES[v.axis]} plane of ${layer.name}, ${positionText()}`);
    }
    tell();
  }
  function annotate(context, v, width, height) {
    const pixels = window.devicePixelRatio || 1;
    if (state.cross) {
      context.strokeStyle = "rgba(80, 200, 255, 0.7)";
      context.lineWidth = pixels;
      const x = ((state.cursor[v.across] + 0.5) / shape[v.across]) * width;
      const y = height - ((state.cursor[v.up] + 0.5) / shape[v.up]) * height;
      context.beginPath();
      context.moveTo(x, 0); context.lineTo(x, height); context.moveTo(0, y); context.lineTo(width, y);
      context.stroke();
    }
    context.fillStyle = context.strokeStyle = "#fff";
    context.font = `${13 * pixels}px sans-serif`;
    context.textBaseline = "middle";
    context.lineJoin = "round";
    const put = (text, x, y, align) => {
      context.textAlign = align;
      [context.strokeStyle, context.lineWidth] = ["#000", 3 * pixels];
      context.strokeText(text, x, y);
      context.fillText(text, x, y);
    };
    put(SIDES[v.across][0], 4 * pixels, height / 2, "left");
    put(SIDES[v.across][1], width - 4 * pixels, height / 2, "right");
    put(SIDES[v.up][1], width / 2, 10 * pixels, "center");
    put(SIDES[v.up][0], width / 2, height - 8 * pixels, "center");
    put(NAMES[v.axis], 4 * pixels, 10 * pixels, "left");
    const bar = BAR_MM.find((mm) => mm * scale < width / 3) || 1;
    [context.strokeStyle, context.lineWidth] = ["#fff", 2 * pixels];
    context.beginPath();
    context.moveTo(width - 8 * pixels - bar * scale, height - 6 * pixels); context.lineTo(width - 8 * pixels, height - 6 * pixels);
    context.stroke();
    put(`${bar} mm`, width - 8 * pixels, height - 16 * pixels, "right");
  }

  // ---- words
  const rounded = (v) => (Math.abs(v) >= 100 ? v.toFixed(0) : v.toPrecision(3));
  function positionMm() {
    return volumes.affine.slice(0, 3).map((row) => row[3] + row[0] * state.cursor[0] + row[1] * state.cursor[1] + row[2] * state.cursor[2]);
  }
  const positionText = () => positionMm().map((mm, a) => `${"xyz"[a]} ${mm.toFixed(1)}`).join(", ") + " mm";
  function tell() {
    const at = state.cursor.reduce((sum, c, a) => sum + c * strides[a], 0);
    const values = layers.map((layer) => `${layer.name} ${layer.difference && layer.value(layer.codes[at]) > 0 ? "+" : ""}${rounded(layer.value(layer.codes[at]))}`);
    root.querySelector(".readout").textContent = `${positionText()}: ${values.join(", ")}`;
    root.querySelectorAll("[name=layer]").forEach((input, i) => { input.checked = i === state.layer; });
    const [low, high] = windowOf(layers[state.layer]);
    root.querySelector(".window").textContent = `black ${rounded(low)}, white ${rounded(high)}`;
  }

  // ---- what people do
  function move(axis, by) { go(axis, state.cursor[axis] + by); }
  function go(axis, to) {
    state.cursor[axis] = Math.max(0, Math.min(shape[axis] - 1, Math.round(to)));
    draw();
  }
  function show(i) {
    if (i < 0 || i >= layers.length) return;
    if (i !== state.layer) state.other = state.layer;
    state.layer = i;
    draw();
  }
  const flick = () => show(state.other);
  function widen(level, width) {
    const layer = layers[state.layer];
    if (layer.difference) return;
    const held = windowOf(layer);
    const size = Math.max((held[1] - held[0]) * width, 1e-3 * (layer.high - layer.low));
    const middle = (held[0] + held[1]) / 2 + level * (held[1] - held[0]);
    [held[0], held[1]] = layer.deviation ? [0, size] : [middle - size / 2, middle + size / 2];
    draw();
  }
  function reset() {
    usualWindows();
    state.cursor = [...volumes.cursor];
    draw();
  }
  let timer = null;
  function flickering() {
    timer = timer ? clearInterval(timer) : setInterval(flick, 600);
    root.querySelector(".flicker").setAttribute("aria-pressed", String(Boolean(timer)));
  }
  function keyed(event, v) {
    const far = event.shiftKey ? 10 : 1;
    const keys = {
      ArrowLeft: () => move(v.across, -far), ArrowRight: () => move(v.across, far),
      ArrowUp: () => move(v.up, far), ArrowDown: () => move(v.up, -far),
      PageUp: () => move(v.axis, far), PageDown: () => move(v.axis, -far),
      " ": flick, f: flickering, x: () => { state.cross = !state.cross; draw(); },
      s: () => { state.smooth = !state.smooth; draw(); }, r: reset,
      "[": () => widen(0, 0.9), "]": () => widen(0, 1 / 0.9), ",": () => widen(-0.05, 1), ".": () => widen(0.05, 1),
    };
    const act = /^[1-9]$/.test(event.key) ? () => show(Number(event.key) - 1) : keys[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  }
  for (const v of views) {
    const point = (event) => {
      const box = v.canvas.getBoundingClientRect();
      state.cursor[v.across] = Math.max(0, Math.min(shape[v.across] - 1, Math.floor(((event.clientX - box.left) / box.width) * shape[v.across])));
      go(v.up, Math.floor((1 - (event.clientY - box.top) / box.height) * shape[v.up]));
    };
    let drag = null;
    v.canvas.addEventListener("pointerdown", (event) => {
      v.canvas.setPointerCapture(event.pointerId);
      drag = event.button === 2 || event.shiftKey ? "window" : "cursor";
      if (drag === "cursor") point(event);
    });
    v.canvas.addEventListener("pointermove", (event) => {
      if (drag === "cursor") point(event);
      if (drag === "window") widen(-event.movementY / 300, 1 + event.movementX / 300);
    });
    for (const name of ["pointerup", "pointercancel"]) v.canvas.addEventListener(name, () => { drag = null; });
    v.canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    v.canvas.addEventListener("wheel", (event) => { event.preventDefault(); move(v.axis, event.deltaY < 0 ? 1 : -1); }, { passive: false });
    v.canvas.addEventListener("keydown", (event) => keyed(event, v));
  }
  const choices = root.querySelector(".layers");
  layers.forEach((layer, i) => {
    const label = document.createElement("label");
    const input = document.createElement("input");
    [input.type, input.name, input.value] = ["radio", "layer", String(i)];
    input.addEventListener("change", () => show(i));
    label.append(input, ` ${i + 1} ${layer.name}`);
    choices.append(label);
  });
  root.querySelector(".swap").addEventListener("click", flick);
  root.querySelector(".flicker").addEventListener("click", flickering);
  root.querySelector(".reset").addEventListener("click", reset);
  window.addEventListener("resize", fit);
  root.hidden = false;
  document.getElementById("still").open = false;
  fit();
  root.dataset.ready = "true";
  window.focvs = { state, layers, positionMm, windowOf };
})().catch((error) => {
  document.getElementById("trouble").textContent = `The viewer could not start (${error}); the pictures below show the same.`;
});
