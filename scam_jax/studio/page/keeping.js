// Saving and loading: pictures, recipes, loops.

import * as api from "./api.js";

const FRAMES = 40;

function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

export class Keeping {
  constructor(choices, fail) {
    Object.assign(this, { choices, fail });
    this.image = document.getElementById("loop");
    this.play = document.getElementById("play");
    this.label = document.getElementById("loop-label");
    choices.model.labels.forEach((label, i) => this.label.add(new Option(label.name, i)));
    const on = (id, event, action) =>
      document.getElementById(id).addEventListener(event, (e) => action(e).catch(fail));
    on("save", "click", () => this.save());
    on("play", "click", () => this.togglePlay());
    on("recipe", "change", (event) => this.load(event.target));
    for (const button of document.querySelectorAll("[data-form]")) {
      button.addEventListener("click", () => {
        const form = button.dataset.form;
        this.loop(form, button).then((blob) => download(blob, `loop.${form}`), fail);
      });
    }
    this.changes = 0;
    choices.addEventListener("change", () => {
      this.changes++;
      this.stop();
    });
  }

  async save() {
    const button = document.getElementById("save");
    button.disabled = true;
    try {
      const painted = this.choices.labels;
      this.list(await api.save(this.choices.asked(), this.choices.map()));
      if (painted === this.choices.labels) this.choices.unsaved = false;
    } finally {
      button.disabled = false;
    }
  }

  list({ folder, place, files }) {
    const item = document.createElement("li");
    item.append(`${place}: `);
    for (const name of files) {
      const link = document.createElement("a");
      link.href = `/api/saved/${folder}/${name}`;
      link.download = name;
      link.textContent = name;
      item.append(link, " ");
    }
    document.getElementById("saved").prepend(item);
    document.getElementById("sheet").hidden = false;
  }

  async load(input) {
    const [file] = input.files;
    input.value = "";
    if (!file) return;
    const recipe = await api.load(file);
    this.choices.load(recipe, await api.labelsOf(recipe.pictures.target));
  }

  async loop(form, button) {
    button.disabled = true;
    try {
      const asked = { ...this.choices.asked(), form, count: FRAMES };
      if (this.label.value) asked.label = Number(this.label.value);
      return await api.loop(asked, this.choices.map());
    } finally {
      button.disabled = false;
    }
  }

  async togglePlay() {
    if (!this.image.hidden) return this.stop();
    const { changes } = this;
    const blob = await this.loop("webp", this.play);
    if (changes !== this.changes) return; // it is a loop of what was chosen before
    this.image.src = URL.createObjectURL(blob);
    this.image.hidden = false;
    this.play.firstChild.textContent = "Stop ";
  }

  stop() {
    if (this.image.hidden) return;
    URL.revokeObjectURL(this.image.src);
    this.image.hidden = true;
    this.play.firstChild.textContent = "Play ";
  }
}
