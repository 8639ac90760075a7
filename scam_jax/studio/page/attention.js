// Which latents a pixel goes by, and where they look.

import * as api from "./api.js";

export class Attention {
  constructor(choices, painter, fail) {
    Object.assign(this, { choices, painter, fail, maps: null, serial: 0 });
    this.box = document.getElementById("show-attention");
    this.selects = ["modulation", "block"].map((name) => document.getElementById(name));
    this.box.addEventListener("change", () => this.toggle());
    for (const select of this.selects) select.addEventListener("change", () => this.fetch());
    choices.addEventListener("change", () => {
      this.maps = null;
      this.serial++; // an answer under way is of another choice
      clearTimeout(this.soon);
      this.shade(null);
      if (this.box.checked) this.soon = setTimeout(() => this.fetch(), 400);
    });
    painter.pointed = (y, x) => this.point(y, x);
  }

  toggle() {
    document.getElementById("maps").hidden = !this.box.checked;
    if (this.box.checked) {
      this.painter.tool = "look";
      this.fetch();
    } else {
      this.shade(null);
    }
  }

  // Shows a mask in place of the label map.
  shade(mask) {
    if (mask === null && this.painter.shade === null) return;
    this.painter.shade = mask;
    this.painter.show();
  }

  async fetch() {
    const serial = ++this.serial;
    const said = document.getElementById("shares-said");
    said.textContent = "Computing the maps…";
    const [modulation, block] = this.selects.map((select) => select.value || null);
    try {
      const asked = { ...this.choices.asked(), modulation, block };
      const [told, bytes] = await api.attention(asked, this.choices.map());
      if (serial !== this.serial) return;
      said.textContent = "Point at the picture.";
      this.take(told, bytes);
    } catch (error) {
      said.textContent = "";
      this.fail(error);
    }
  }

  take(told, bytes) {
    for (const [select, names] of [
      [this.selects[0], told.modulations],
      [this.selects[1], told.blocks],
    ]) {
      if (select.options.length) continue;
      for (const name of names) select.add(new Option(name, name));
      select.value = names.at(-1);
    }
    this.maps = { givers: told.givers, latents: told.latents };
    let start = 0;
    for (const [role, shape] of Object.entries(told.shapes)) {
      const length = shape.reduce((a, b) => a * b);
      this.maps[role] = { shape, values: bytes.subarray(start, start + length) };
      start += length;
    }
    this.pixel = null;
    this.point(...this.painter.at);
  }

  // The weights of a pixel of the picture in a map of another size.
  at({ shape: [h, w, k], values }, y, x) {
    const { height, width } = this.choices.model;
    const place = (Math.floor((y * h) / height) * w + Math.floor((x * w) / width)) * k;
    return values.subarray(place, place + k);
  }

  point(y, x) {
    if (!this.maps || !this.box.checked || this.painter.tool !== "look") return;
    const { labels, model } = this.choices;
    const label = labels[y * model.width + x];
    if (this.pixel === y * model.width + x || !model.labels[label]) return;
    this.pixel = y * model.width + x;
    const weights = this.at(this.maps[""], y, x).subarray(0, this.maps.latents[label]);
    const latent = weights.indexOf(Math.max(...weights));
    this.shade(
      Uint8Array.from(labels, (other, place) =>
        other === label
          ? this.at(this.maps[""], Math.floor(place / model.width), place % model.width)[latent]
          : 0,
      ),
    );
    this.drawShares(weights, latent, label);
    this.drawLooks(label, latent).catch(this.fail);
  }

  drawShares(weights, latent, label) {
    const canvas = document.getElementById("shares");
    [canvas.width, canvas.height] = [240, 160];
    const context = canvas.getContext("2d");
    const style = getComputedStyle(document.documentElement);
    const wide = canvas.width / weights.length;
    weights.forEach((weight, i) => {
      const tall = Math.max(2, (canvas.height * weight) / 255);
      context.fillStyle = style.getPropertyValue(i === latent ? "--accent" : "--soft");
      context.fillRect(i * wide + 1, canvas.height - tall, wide - 2, tall);
    });
    const share = Math.round((100 * weights[latent]) / 255);
    document.getElementById("shares-said").textContent =
      `${this.choices.model.labels[label].name}: ${share} % of latent ${latent}`;
  }

  async drawLooks(label, latent) {
    const [role, own] = this.maps.givers[label];
    const map = this.maps[role];
    const name = this.choices.pictures[role];
    const { height, width } = this.choices.model;
    const { maps, pixel } = this;
    const [photo, labels] = await this.shown(name);
    if (maps !== this.maps || pixel !== this.pixel) return; // the cursor has gone on
    const canvas = document.getElementById("looks");
    [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(photo, 0, 0);
    const pixels = context.getImageData(0, 0, width, height);
    labels.forEach((value, place) => {
      const y = Math.floor(place / width);
      const seen = value === own ? this.at(map, y, place % width)[latent] / 255 : 0;
      for (let c = 0; c < 3; c++) pixels.data[4 * place + c] *= 0.2 + 0.8 * seen;
    });
    context.putImageData(pixels, 0, 0);
    const of = this.choices.model.labels[own].name;
    document.getElementById("looks-said").textContent = `It looks there: ${role}, ${of}`;
  }

  // The photo and the label map of the last picture that was asked for.
  shown(name) {
    if (this.shownName !== name) {
      this.shownName = name;
      const image = new Image();
      image.src = api.pictureAt(name);
      this.last = Promise.all([image.decode().then(() => image), api.labelsOf(name)]);
      this.last.catch(() => (this.shownName = null));
    }
    return this.last;
  }
}
