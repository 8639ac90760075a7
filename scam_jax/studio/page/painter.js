// The label map over the picture: brush, eraser, fill, moving and mirroring regions.

export class Painter {
  constructor(choices, regions) {
    const { height, width, labels } = choices.model;
    Object.assign(this, { choices, regions, height, width });
    this.colors = labels.map((label) => label.color);
    this.canvas = document.getElementById("overlay");
    this.canvas.width = width;
    this.canvas.height = height;
    this.context = this.canvas.getContext("2d");
    this.alpha = document.getElementById("alpha");
    this.size = document.getElementById("size");
    this.size.max = Math.max(2, Math.round(Math.min(height, width) / 4));
    this.size.value = Math.max(1, Math.round(Math.min(height, width) / 24));
    this.shade = null; // what attention shows instead of the label map, uint8 [H, W]
    this.stroke = null;
    this.at = [height >> 1, width >> 1];
    this.pointed = () => {};
    this.listen();
    choices.addEventListener("change", () => this.show());
  }

  get tool() {
    return document.querySelector("input[name=tool]:checked").value;
  }

  set tool(value) {
    document.querySelector(`input[name=tool][value=${value}]`).click();
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button || !event.isPrimary) return;
      canvas.setPointerCapture(event.pointerId);
      this.begin(this.pixel(event));
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!event.isPrimary) return; // a second finger
      const pixel = this.pixel(event);
      this.point(pixel);
      if (this.stroke) this.go(pixel);
    });
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, (event) => {
        if (event.isPrimary) this.stroke = null;
      });
    }
    canvas.addEventListener("keydown", (event) => this.key(event));
    this.alpha.addEventListener("input", () => this.show());
    for (const input of document.querySelectorAll("input[name=tool]")) {
      input.addEventListener("change", () => {
        if (this.tool !== "look" && this.alpha.value === "0") this.alpha.value = 55;
        this.show();
      });
    }
    for (const name of ["undo", "redo"]) {
      document.getElementById(name).addEventListener("click", () => this.choices[name]());
    }
    document.getElementById("reset").addEventListener("click", () => {
      this.choices.paint(this.choices.ofTarget.slice());
    });
    document.getElementById("mirror").addEventListener("click", () => this.mirror());
  }

  pixel(event) {
    const box = this.canvas.getBoundingClientRect();
    const part = (at, start, length, count) =>
      Math.max(0, Math.min(count - 1, Math.floor(((at - start) / length) * count)));
    return [
      part(event.clientY, box.top, box.height, this.height),
      part(event.clientX, box.left, box.width, this.width),
    ];
  }

  point([y, x]) {
    this.at = [y, x];
    const label = this.choices.labels[y * this.width + x];
    document.getElementById("under").textContent =
      this.choices.model.labels[label]?.name ?? "left out";
    this.pointed(y, x);
  }

  // Arrow keys move the cursor, or the region with the tool Move; Enter uses the tool.
  key(event) {
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const step = steps[event.key];
    if (step) {
      event.preventDefault();
      const label = this.regions.selected;
      if (this.tool === "move") {
        this.choices.paint(this.moved(this.choices.labels, label, ...step));
      } else {
        const clip = (value, count) => Math.max(0, Math.min(count - 1, value));
        this.point([clip(this.at[0] + step[0], this.height), clip(this.at[1] + step[1], this.width)]);
        this.show();
      }
    } else if (event.key === "Enter") {
      event.preventDefault();
      this.begin(this.at);
      this.stroke = null;
    }
  }

  begin([y, x]) {
    const { tool, choices } = this;
    if (tool === "look") return this.point([y, x]);
    const label = choices.labels[y * this.width + x];
    if (tool === "fill") return choices.paint(this.filled(y, x));
    if (tool === "move") this.regions.select(label);
    this.stroke = { tool, start: [y, x], last: [y, x], before: choices.labels, label };
    this.stroke.turns = choices.turns;
    if (tool !== "move") this.go([y, x]);
  }

  go([y, x]) {
    const { stroke, choices } = this;
    if (stroke.turns !== choices.turns) {
      this.stroke = null;
      return;
    }
    if (stroke.tool === "move") {
      const shift = [y - stroke.start[0], x - stroke.start[1]];
      choices.paint(this.moved(stroke.before, stroke.label, ...shift), stroke);
      return;
    }
    const labels = choices.labels.slice();
    const radius = this.size.value / 2;
    const [fromY, fromX] = stroke.last;
    const steps = Math.max(1, Math.abs(y - fromY), Math.abs(x - fromX));
    for (let i = 0; i <= steps; i++) {
      this.dab(labels, fromY + ((y - fromY) * i) / steps, fromX + ((x - fromX) * i) / steps, radius);
    }
    stroke.last = [y, x];
    choices.paint(labels, stroke);
  }

  dab(labels, y, x, radius) {
    const { height, width, choices } = this;
    for (let v = Math.max(0, Math.ceil(y - radius)); v <= Math.min(height - 1, y + radius); v++) {
      for (let u = Math.max(0, Math.ceil(x - radius)); u <= Math.min(width - 1, x + radius); u++) {
        if ((v - y) ** 2 + (u - x) ** 2 > radius ** 2) continue;
        const place = v * width + u;
        labels[place] = this.stroke.tool === "erase" ? choices.ofTarget[place] : this.regions.selected;
      }
    }
  }

  neighbours(place) {
    const { height, width } = this;
    const y = Math.floor(place / width);
    const x = place % width;
    return [
      ...(y ? [place - width] : []),
      ...(y < height - 1 ? [place + width] : []),
      ...(x ? [place - 1] : []),
      ...(x < width - 1 ? [place + 1] : []),
    ];
  }

  filled(y, x) {
    const labels = this.choices.labels.slice();
    const start = y * this.width + x;
    const [old, fresh] = [labels[start], this.regions.selected];
    if (old === fresh) return labels;
    const waiting = [start];
    labels[start] = fresh;
    while (waiting.length) {
      for (const place of this.neighbours(waiting.pop())) {
        if (labels[place] === old) {
          labels[place] = fresh;
          waiting.push(place);
        }
      }
    }
    return labels;
  }

  // The label map without a region: each of its pixels takes the nearest other label.
  without(before, label) {
    const labels = before.slice();
    const done = Uint8Array.from(before, (x) => (x === label ? 0 : 1));
    let edge = [...done.keys()].filter((place) => done[place]);
    if (!edge.length) return labels;
    while (edge.length) {
      const next = [];
      for (const place of edge) {
        for (const other of this.neighbours(place)) {
          if (done[other]) continue;
          done[other] = 1;
          labels[other] = labels[place];
          next.push(other);
        }
      }
      edge = next;
    }
    return labels;
  }

  placed(before, label, map) {
    const labels = this.without(before, label);
    before.forEach((value, place) => {
      if (value !== label) return;
      const [y, x] = map(Math.floor(place / this.width), place % this.width);
      if (y >= 0 && y < this.height && x >= 0 && x < this.width) labels[y * this.width + x] = label;
    });
    return labels;
  }

  moved(before, label, down, right) {
    return this.placed(before, label, (y, x) => [y + down, x + right]);
  }

  mirror() {
    const { choices } = this;
    const label = this.regions.selected;
    const columns = [...choices.labels.keys()]
      .filter((place) => choices.labels[place] === label)
      .map((place) => place % this.width);
    if (!columns.length) return;
    const sum = columns.reduce((a, b) => Math.min(a, b)) + columns.reduce((a, b) => Math.max(a, b));
    choices.paint(this.placed(choices.labels, label, (y, x) => [y, sum - x]));
  }

  show() {
    const { choices, context } = this;
    const picture = context.createImageData(this.width, this.height);
    const alpha = Math.round(2.55 * this.alpha.value);
    const shade = this.tool === "look" ? this.shade : null;
    choices.labels.forEach((label, place) => {
      const color = shade ? [255, 255, 255] : (this.colors[label] ?? [255, 255, 255]);
      const opacity = shade ? 0.85 * shade[place] : alpha;
      picture.data.set([...color, opacity], 4 * place);
    });
    context.putImageData(picture, 0, 0);
    if (document.activeElement === this.canvas && this.canvas.matches(":focus-visible")) {
      context.fillStyle = "#ff00c8";
      context.fillRect(this.at[1], this.at[0], 1, 1);
    }
    document.getElementById("undo").disabled = !choices.past.length;
    document.getElementById("redo").disabled = !choices.future.length;
    document.getElementById("reset").disabled = !choices.painted;
  }
}
