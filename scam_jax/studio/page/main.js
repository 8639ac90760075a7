// Starts the page, and generates the picture anew whenever a choice changes.

import * as api from "./api.js";
import { Attention } from "./attention.js";
import { Choices } from "./choices.js";
import { Keeping } from "./keeping.js";
import { Painter } from "./painter.js";
import { People } from "./people.js";
import { Regions } from "./regions.js";

// Pixels of the picture's longer side on the page, where there is room.
const LONGEST = 512;

const element = (id) => document.getElementById(id);

function banner(id, text) {
  element(id).firstChild.textContent = text;
  element(id).hidden = false;
}

const fail = (error) => banner("error", error.message);
const notice = (text) => banner("notice", text);

async function waitForModel() {
  for (;;) {
    const model = await api.about();
    if (model.ready) return model;
    element("progress").textContent = `${model.progress[0].toUpperCase()}${model.progress.slice(1)}…`;
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
}

// Gives the picture the model's shape, as large as its column allows.
function fit(model) {
  for (const canvas of [element("result"), element("truth").firstElementChild]) {
    canvas.width = model.width;
    canvas.height = model.height;
  }
  const stage = document.querySelector(".canvases");
  stage.style.aspectRatio = `${model.width} / ${model.height}`;
  const wide = (LONGEST * model.width) / Math.max(model.width, model.height);
  stage.parentElement.style.width = `${Math.round(wide)}px`;
}

// Generates one picture at a time; of the changes meanwhile only the last counts.
class Stage {
  constructor(choices, regions) {
    Object.assign(this, { choices, regions, busy: false, again: false });
    this.context = element("result").getContext("2d");
    choices.addEventListener("change", () => this.generate());
  }

  async generate() {
    if (!this.choices.pictures.target) return;
    if (this.busy) {
      this.again = true;
      return;
    }
    this.busy = true;
    document.body.dataset.busy = "";
    const spinner = setTimeout(() => (element("busy").hidden = false), 150);
    try {
      const asked = this.choices.asked();
      const [told, image] = await api.generate(asked, this.choices.map());
      this.context.drawImage(image, 0, 0);
      element("figures").textContent = `${told.milliseconds} ms`;
      this.regions.remark(told.remarks);
      if (this.failed) element("error").hidden = true;
      this.failed = false;
      await this.showTruth(asked, told.psnr);
    } catch (error) {
      this.failed = true;
      fail(error);
    } finally {
      clearTimeout(spinner);
      element("busy").hidden = true;
      this.busy = false;
      delete document.body.dataset.busy;
      document.body.dataset.generated = Number(document.body.dataset.generated ?? 0) + 1;
    }
    if (this.again) {
      this.again = false;
      this.generate();
    }
  }

  async showTruth(asked, psnr) {
    element("truth").hidden = psnr === undefined;
    if (psnr === undefined) return;
    element("psnr").textContent = `: PSNR ${psnr.toFixed(2)} dB`;
    const pair = `${asked.pictures.subject} ${asked.pictures.target}`;
    if (this.pair !== pair) {
      const image = await api.truth(asked);
      element("truth").firstElementChild.getContext("2d").drawImage(image, 0, 0);
      this.pair = pair;
    }
  }
}

function listenToKeys(choices, painter, regions) {
  const tools = { l: "look", b: "brush", e: "erase", f: "fill", m: "move" };
  const buttons = { h: "mirror", s: "save", p: "play", a: "show-attention" };
  document.addEventListener("keydown", (event) => {
    if (event.target.matches("input[type=text], select")) return;
    const key = event.key.toLowerCase();
    // Some keyboards need AltGr, which is Ctrl and Alt, or Option for these.
    if ((key === "[" || key === "]") && !event.metaKey && (event.altKey || !event.ctrlKey)) {
      painter.size[key === "[" ? "stepDown" : "stepUp"]();
      return;
    }
    if (event.ctrlKey || event.metaKey) {
      if (key === "z" || key === "y") {
        event.preventDefault();
        choices[key === "y" || event.shiftKey ? "redo" : "undo"]();
      }
      return;
    }
    if (event.altKey) return;
    if (tools[key]) painter.tool = tools[key];
    else if (buttons[key] && !event.repeat) element(buttons[key]).click();
    else if (/^\d$/.test(key)) regions.select(Number(key));
  });
}

async function start() {
  const model = await waitForModel();
  element("waiting").hidden = true;
  document.querySelector("main").hidden = false;
  element("model").textContent =
    `${model.family}, ${model.height}×${model.width}, step ${model.step}`;
  fit(model);

  const choices = new Choices(model);
  const regions = new Regions(choices);
  const painter = new Painter(choices, regions);
  new Stage(choices, regions);
  const people = new People(choices, fail, notice);
  new Keeping(choices, fail);
  if (model.has_attention) {
    element("attention").hidden = false;
    new Attention(choices, painter, fail);
  }
  listenToKeys(choices, painter, regions);
  window.addEventListener("beforeunload", (event) => {
    if (choices.unsaved) event.preventDefault();
  });
  const [group] = Object.keys(model.groups);
  if (group) {
    choices.pictures.subject = `${group}/0`;
    await people.choose("target", `${group}/${model.groups[group] > 1 ? 1 : 0}`);
  }
  document.body.dataset.ready = "";
}

for (const id of ["error", "notice"]) {
  element(id).querySelector("button").addEventListener("click", () => (element(id).hidden = true));
}
start().catch((error) => {
  element("waiting").hidden = true;
  fail(error);
});
