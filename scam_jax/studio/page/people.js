// The pictures to choose from, and those that the user drops or pastes.

import * as api from "./api.js";
import { ROLES } from "./choices.js";

const PAGE = 48;
const NAMES = { subject: "Subject", target: "Target", third: "Third" };

export class People {
  constructor(choices, fail, notice) {
    Object.assign(this, { choices, fail, notice, active: "subject", start: 0, own: [] });
    this.slots = document.getElementById("slots");
    this.gallery = document.getElementById("gallery");
    this.group = document.getElementById("group");
    for (const role of ROLES) this.slots.append(this.slot(role));
    for (const [name, count] of Object.entries(choices.model.groups)) {
      this.group.add(new Option(`${name} (${count})`, name));
    }
    this.group.add(new Option("your own", "own"));
    this.group.addEventListener("change", () => this.turn(0));
    document.getElementById("back").addEventListener("click", () => this.turn(this.start - PAGE));
    document.getElementById("forth").addEventListener("click", () => this.turn(this.start + PAGE));
    document.getElementById("files").addEventListener("change", (event) => {
      this.bring([...event.target.files], this.active);
      event.target.value = "";
    });
    document.addEventListener("paste", (event) => {
      const files = [...(event.clipboardData?.files ?? [])];
      if (files.length) this.bring(files, this.active);
    });
    this.acceptDrops(document.body, () => this.active);
    if (!choices.model.has_parser) {
      document.getElementById("parser-hint").textContent =
        " This model has no parser: each photo needs one.";
    }
    choices.addEventListener("change", () => this.show());
    this.turn(0);
  }

  slot(role) {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.role = role;
    button.setAttribute("role", "radio");
    button.innerHTML = '<span class="empty"></span><img alt="" hidden><span></span>';
    button.lastChild.textContent = NAMES[role];
    button.addEventListener("click", () => {
      this.active = role;
      this.show();
    });
    this.acceptDrops(button, () => role);
    return button;
  }

  acceptDrops(element, role) {
    element.addEventListener("dragover", (event) => {
      event.preventDefault();
      event.stopPropagation();
      element.classList.add("dropping");
    });
    element.addEventListener("dragleave", () => element.classList.remove("dropping"));
    element.addEventListener("drop", (event) => {
      event.preventDefault();
      event.stopPropagation();
      element.classList.remove("dropping");
      const name = event.dataTransfer.getData("text/x-picture");
      if (name) this.choose(role(), name);
      else this.bring([...event.dataTransfer.files], role());
    });
  }

  // Uploads files. NAME_labels.png is the label map of NAME.jpg.
  async bring(files, role) {
    const stem = (file) => file.name.replace(/\.[^.]*$/, "");
    const isMap = (file) => /[_.-]labels?$/i.test(stem(file));
    const maps = new Map(
      files.filter(isMap).map((file) => [stem(file).replace(/[_.-]labels?$/i, ""), file]),
    );
    const photos = files.filter((file) => !isMap(file));
    if (!photos.length) {
      this.fail(new Error(files.length ? "A label map needs its photo: drop both." : "No file came."));
      return;
    }
    const roles = ROLES.slice(ROLES.indexOf(role));
    for (const [i, photo] of photos.entries()) {
      try {
        const { name, parsed } = await api.upload(photo, maps.get(stem(photo)));
        if (!this.own.includes(name)) this.own.push(name);
        if (parsed) this.notice(`The parser drew the label map of ${photo.name}: look at it.`);
        if (roles[i]) await this.choose(roles[i], name);
      } catch (error) {
        this.fail(error);
      }
    }
    this.group.value = "own";
    this.turn(0);
  }

  async choose(role, name) {
    try {
      if (role === "target") {
        this.choices.setTarget(name, await api.labelsOf(name));
      } else {
        this.choices.pictures[role] = name;
      }
      this.choices.changed();
    } catch (error) {
      this.fail(error);
    }
  }

  turn(start) {
    const group = this.group.value;
    const count = group === "own" ? this.own.length : this.choices.model.groups[group];
    this.start = Math.max(0, Math.min(start, Math.max(0, count - 1)));
    this.start -= this.start % PAGE;
    const end = Math.min(count, this.start + PAGE);
    document.getElementById("page").textContent = count ? `${this.start + 1}–${end} of ${count}` : "none";
    document.getElementById("back").disabled = this.start === 0;
    document.getElementById("forth").disabled = end >= count;
    const buttons = [];
    for (let i = this.start; i < end; i++) {
      buttons.push(this.thumbnail(group === "own" ? this.own[i] : `${group}/${i}`));
    }
    this.gallery.replaceChildren(...buttons);
    this.show();
  }

  thumbnail(name) {
    const button = document.createElement("button");
    const image = new Image();
    button.type = "button";
    button.draggable = true;
    button.dataset.name = name;
    button.title = name;
    image.alt = name;
    image.loading = "lazy";
    image.src = api.pictureAt(name);
    button.append(image);
    button.addEventListener("click", () => this.choose(this.active, name));
    button.addEventListener("dragstart", (event) => event.dataTransfer.setData("text/x-picture", name));
    return button;
  }

  show() {
    for (const button of this.slots.children) {
      const name = this.choices.pictures[button.dataset.role];
      const [empty, image] = button.children;
      empty.hidden = Boolean(name);
      image.hidden = !name;
      if (name && image.dataset.name !== name) {
        image.src = api.pictureAt(name);
        image.dataset.name = name;
      }
      button.setAttribute("aria-checked", button.dataset.role === this.active);
    }
    const chosen = this.choices.pictures[this.active];
    for (const button of this.gallery.children) {
      button.setAttribute("aria-pressed", button.dataset.name === chosen);
    }
  }
}
