"use strict";
// The search of columns and the sky viewer of the release page. Without scripts all else is there.

function searchColumns() {
  const field = document.getElementById("column-search");
  if (!field) return;
  const rows = [...document.querySelectorAll("#columns-table tbody tr")];
  const count = document.getElementById("column-count");
  const texts = rows.map((row) => row.textContent.toLowerCase());
  function show() {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, k) => {
      row.hidden = !words.every((word) => texts[k].includes(word));
      shown += row.hidden ? 0 : 1;
    });
    count.textContent = `${shown} of ${rows.length} columns`;
  }
  field.addEventListener("input", show);
  // index.html?columns=psf opens with a search.
  field.value = new URLSearchParams(location.search).get("columns") || "";
  show();
}

// Sky position of a tract pixel in a gnomonic projection, deg (Calabretta & Greisen 2002, A&A 395, 1077).
function skyPosition(tract, x, y) {
  const rad = Math.PI / 180;
  const dx = x - tract.crpix[0], dy = y - tract.crpix[1];
  const xi = (tract.cd[0][0] * dx + tract.cd[0][1] * dy) * rad, eta = (tract.cd[1][0] * dx + tract.cd[1][1] * dy) * rad;
  const ra0 = tract.crval[0] * rad, dec0 = tract.crval[1] * rad;
  const down = Math.cos(dec0) - eta * Math.sin(dec0);
  const ra = ra0 + Math.atan2(xi, down);
  const dec = Math.atan2(Math.sin(dec0) + eta * Math.cos(dec0), Math.hypot(xi, down));
  return [((ra / rad) % 360 + 360) % 360, dec / rad];
}

class SkyView {
  constructor(root, tracts) {
    this.tracts = tracts;
    this.canvas = root.querySelector("canvas");
    this.where = root.querySelector(".where");
    this.picked = document.getElementById("picked");
    this.pointers = new Map();
    this.layers = () => ({
      stars: document.getElementById("layer-stars").checked,
      galaxies: document.getElementById("layer-galaxies").checked,
    });
    this.image = new Image();
    this.image.onload = () => this.home();
    root.querySelector(".in").onclick = () => this.zoom(1.6);
    root.querySelector(".out").onclick = () => this.zoom(1 / 1.6);
    root.querySelector(".all").onclick = () => this.home();
    for (const id of ["layer-stars", "layer-galaxies"]) document.getElementById(id).onchange = () => this.draw();
    const choice = document.getElementById("tract-choice");
    if (choice) choice.onchange = () => this.open(Number(choice.value));
    this.listen();
    new ResizeObserver(() => { this.fit(); this.draw(); }).observe(this.canvas);
    this.open(0);
  }
  open(number) {
    this.tract = this.tracts[number];
    this.choice = -1;
    this.image.src = this.tract.picture;
  }
  fit() {
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = this.canvas.clientWidth * ratio;
    this.canvas.height = this.canvas.clientHeight * ratio;
    this.ratio = ratio;
  }
  home() {
    this.fit();
    const { width, height } = this.tract;
    this.scale = Math.min(this.canvas.width / width, this.canvas.height / height);
    this.left = (this.canvas.width - width * this.scale) / 2;
    this.top = (this.canvas.height - height * this.scale) / 2;
    this.draw();
  }
  zoom(factor, x = this.canvas.width / 2, y = this.canvas.height / 2) {
    const scale = Math.min(Math.max(this.scale * factor, 0.02), 40);
    this.left = x - (x - this.left) * scale / this.scale;
    this.top = y - (y - this.top) * scale / this.scale;
    this.scale = scale;
    this.draw();
  }
  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [(event.clientX - box.left) * this.ratio, (event.clientY - box.top) * this.ratio];
  }
  listen() {
    const canvas = this.canvas;
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 400), ...this.place(event));
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, this.place(event));
      this.moved = 0;
    });
    canvas.addEventListener("pointermove", (event) => this.drag(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => {
      if (name === "pointerup" && this.pointers.size === 1 && this.moved < 5 * this.ratio) this.pick(...this.place(event));
      this.pointers.delete(event.pointerId);
    });
  }
  drag(event) {
    const [x, y] = this.place(event);
    this.tell(x, y);
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    this.moved += Math.hypot(x - before[0], y - before[1]);
    if (this.pointers.size === 2) {
      const other = [...this.pointers].find(([id]) => id !== event.pointerId)[1];
      const stretch = Math.hypot(x - other[0], y - other[1]) / Math.hypot(before[0] - other[0], before[1] - other[1]);
      this.zoom(stretch || 1, other[0], other[1]);
    } else {
      this.left += x - before[0];
      this.top += y - before[1];
      this.draw();
    }
    this.pointers.set(event.pointerId, [x, y]);
  }
  tell(x, y) {
    const { binning, height, x0, y0 } = this.tract;
    const u = (x - this.left) / this.scale, v = (y - this.top) / this.scale;
    const [ra, dec] = skyPosition(this.tract, x0 + u * binning - 0.5, y0 + (height - v) * binning - 0.5);
    this.where.textContent = `RA ${ra.toFixed(5)}  Dec ${dec >= 0 ? "+" : ""}${dec.toFixed(5)}`;
  }
  shown(k) {
    const kind = this.tract.objects.extended[k], layers = this.layers();
    return kind === 0 ? layers.stars : layers.galaxies;
  }
  pick(x, y) {
    const { u, v } = this.tract.objects;
    let best = 14 * this.ratio;
    this.choice = -1;
    for (let k = 0; k < u.length; k++) {
      const distance = Math.hypot(this.left + u[k] * this.scale - x, this.top + v[k] * this.scale - y);
      if (distance < best) { best = distance; this.choice = k; }
    }
    this.describe();
    this.draw();
  }
  describe() {
    const k = this.choice, objects = this.tract.objects;
    if (k < 0) { this.picked.textContent = "Choose an object to see its identifier and magnitudes."; return; }
    const kind = { 0: "point source", 1: "extended", [-1]: "of unknown morphology" }[objects.extended[k]];
    const magnitudes = this.tract.bands.map((band, n) =>
      `${band} ${objects.magnitudes[n][k] === null ? "not measured" : objects.magnitudes[n][k].toFixed(2)}`);
    this.picked.textContent = `objectId ${objects.id[k]}, ${kind}, RA ${objects.ra[k]}, Dec ${objects.dec[k]}; `
      + `AB magnitudes: ${magnitudes.join(", ")}.`;
  }
  draw() {
    if (!this.scale || !this.image.complete) return;
    const pen = this.canvas.getContext("2d"), { width, height, objects } = this.tract;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, this.canvas.width, this.canvas.height);
    pen.imageSmoothingEnabled = this.scale < 3;
    pen.drawImage(this.image, this.left, this.top, width * this.scale, height * this.scale);
    const radius = Math.min(Math.max(5 * this.scale, 3 * this.ratio), 14 * this.ratio);
    pen.lineWidth = 1.3 * this.ratio;
    for (let k = 0; k < objects.u.length; k++) {
      const x = this.left + objects.u[k] * this.scale, y = this.top + objects.v[k] * this.scale;
      if (x < -radius || y < -radius || x > this.canvas.width + radius || y > this.canvas.height + radius) continue;
      if (k !== this.choice && !this.shown(k)) continue;
      pen.strokeStyle = k === this.choice ? "#fff" : objects.extended[k] === 0 ? "#f7b733" : "#6fc3ff";
      pen.beginPath();
      pen.arc(x, y, k === this.choice ? 1.5 * radius : radius, 0, 2 * Math.PI);
      pen.stroke();
    }
    this.bar(pen);
  }
  bar(pen) {
    // Picture pixels per arcsec from the determinant of the matrix of the projection.
    const cd = this.tract.cd, pixel = Math.sqrt(Math.abs(cd[0][0] * cd[1][1] - cd[0][1] * cd[1][0])) * 3600;
    const perArcsec = this.scale / (pixel * this.tract.binning);
    const length = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600].findLast((s) => s * perArcsec < 0.3 * this.canvas.width) || 1;
    const x = this.canvas.width - 12 * this.ratio - length * perArcsec, y = this.canvas.height - 14 * this.ratio;
    pen.fillStyle = pen.strokeStyle = "#fff";
    pen.lineWidth = 2 * this.ratio;
    pen.beginPath(); pen.moveTo(x, y); pen.lineTo(x + length * perArcsec, y); pen.stroke();
    pen.font = `${12 * this.ratio}px system-ui`;
    pen.fillText(length < 60 ? `${length}"` : `${length / 60}'`, x, y - 6 * this.ratio);
  }
}

searchColumns();
const root = document.querySelector(".viewer");
if (root && window.FUSION_SKY && window.FUSION_SKY.length) new SkyView(root, window.FUSION_SKY);
