// The table of labels: who gives each, in which share, and what the studio says about it.

const SOURCES = {
  target: "target",
  subject: "subject",
  third: "third photo",
  mean: "mean of both",
  loaded: "as in the recipe",
};

export class Regions {
  constructor(choices) {
    this.choices = choices;
    this.rows = choices.model.labels.map((label, i) => this.row(label, i));
    document.getElementById("labels").append(...this.rows.flatMap((row) => [row.line, row.below]));
    this.blend = document.getElementById("blend");
    this.blend.addEventListener("input", () => {
      choices.blend = this.blend.value / 100;
      choices.changed();
    });
    this.absent = document.getElementById("absent");
    this.rule = document.getElementById("rule");
    this.absent.addEventListener("change", () => {
      this.rule.hidden = this.absent.value !== "rule";
      if (this.rule.hidden || this.rule.value) this.setRule();
      else this.rule.focus();
    });
    this.rule.addEventListener("change", () => this.setRule());
    choices.addEventListener("change", () => this.show());
    this.select(Math.min(1, this.rows.length - 1));
  }

  setRule() {
    this.choices.absent = this.absent.value === "rule" ? this.rule.value : this.absent.value;
    this.choices.changed();
  }

  row(label, i) {
    const line = document.createElement("tr");
    line.innerHTML =
      '<td><label class="swatch"><input type="radio" name="paint"></label></td><td class="name"></td>' +
      '<td><select></select></td><td><input type="range" min="0" max="100"></td>';
    const below = document.createElement("tr");
    below.innerHTML = '<td colspan="4" class="remark"></td>';
    below.hidden = true;
    const [paint, share] = line.querySelectorAll("input");
    const from = line.querySelector("select");
    line.querySelector(".swatch").style.background = `rgb(${label.color})`;
    line.querySelector(".name").textContent = label.name;
    paint.setAttribute("aria-label", `paint ${label.name}`);
    from.setAttribute("aria-label", `who gives ${label.name}`);
    share.setAttribute("aria-label", `share of ${label.name}`);
    for (const [value, text] of Object.entries(SOURCES)) from.add(new Option(text, value));
    paint.addEventListener("change", () => (this.selected = i));
    from.addEventListener("change", () => {
      Object.assign(this.choices.byLabel[i], { from: from.value, share: 1 });
      this.choices.changed();
    });
    share.addEventListener("input", () => {
      this.choices.byLabel[i].share = share.value / 100;
      this.choices.changed();
    });
    return { line, below, paint, from, share };
  }

  select(label) {
    if (!this.rows[label]) return;
    this.selected = label;
    this.rows[label].paint.checked = true;
  }

  show() {
    const { choices } = this;
    const here = new Set(choices.labels);
    this.blend.value = Math.round(100 * choices.blend);
    document.getElementById("blend-value").value = `${this.blend.value} %`;
    const named = ["target", "guess"].includes(choices.absent);
    this.absent.value = named ? choices.absent : "rule";
    this.rule.hidden = named;
    if (!named) this.rule.value = choices.absent;
    this.rows.forEach(({ line, from, share }, i) => {
      const choice = choices.byLabel[i];
      for (const option of from.options) {
        const lacks = { third: !choices.pictures.third, loaded: choice.from !== "loaded" };
        option.hidden = option.disabled = lacks[option.value] ?? false;
      }
      from.value = choice.from;
      share.value = Math.round(100 * choice.share);
      share.disabled = choice.from === "target";
      line.classList.toggle("absent", !here.has(i));
      line.title = here.has(i) ? "" : "not in the label map";
    });
  }

  remark(remarks) {
    this.rows.forEach(({ below }, i) => {
      const said = remarks.filter(([label]) => label === i).map(([, sentence]) => sentence);
      below.hidden = !said.length;
      below.firstChild.textContent = said.join("; ");
    });
  }
}
