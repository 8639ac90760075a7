// What the user has chosen: pictures, who gives which label, the painted label map.

export const ROLES = ["subject", "target", "third"];

export class Choices extends EventTarget {
  constructor(model) {
    super();
    this.model = model;
    this.pictures = {};
    this.blend = 1;
    this.absent = "target";
    this.labels = new Uint8Array(model.height * model.width);
    this.ofTarget = this.labels;
    this.painted = false;
    this.unsaved = false; // what was painted since the last save
    this.byLabel = model.labels.map((_, i) => ({ from: i ? "subject" : "target", share: 1 }));
    this.past = [];
    this.future = [];
    this.turns = 0; // what ends a stroke: undo, redo, another target
  }

  changed() {
    this.dispatchEvent(new Event("change"));
  }

  // The shares of a label as recipes have them.
  sharesOf(label) {
    const { from, share, loaded } = this.byLabel[label];
    const times = share * this.blend;
    if (from === "loaded") {
      return Object.fromEntries(Object.entries(loaded).map(([role, x]) => [role, x * times]));
    }
    if (from === "mean") return this.pictures.subject ? { subject: times / 2 } : {};
    return from === "target" || !this.pictures[from] ? {} : { [from]: times };
  }

  asked() {
    const givers = {};
    this.byLabel.forEach((_, label) => {
      const shares = this.sharesOf(label);
      if (Object.keys(shares).length) givers[label] = shares;
    });
    return { pictures: { ...this.pictures }, givers, absent: this.absent };
  }

  // The label map to send, or null for the target's own.
  map() {
    return this.painted ? this.labels : null;
  }

  // Another target brings its own label map. Undo takes both back.
  setTarget(name, labels) {
    if (name === this.pictures.target) return;
    if (this.pictures.target) this.remember();
    this.turns++;
    this.pictures.target = name;
    this.ofTarget = labels;
    this.labels = labels.slice();
    this.painted = false;
  }

  // What undo brings back.
  now() {
    return { target: this.pictures.target, ofTarget: this.ofTarget, labels: this.labels };
  }

  remember() {
    this.past.push(this.now());
    if (this.past.length > 100) this.past.shift();
    this.future = [];
  }

  // Changes the label map, if the labels differ from it. All changes of a stroke are one to undo.
  paint(labels, stroke) {
    if (labels.every((label, i) => label === this.labels[i])) return;
    if (!stroke?.remembered) this.remember();
    if (stroke) stroke.remembered = true;
    this.unsaved = true;
    this.take({ ...this.now(), labels });
  }

  take({ target, ofTarget, labels }) {
    this.pictures.target = target;
    this.ofTarget = ofTarget;
    this.labels = labels;
    this.painted = labels.some((label, i) => label !== ofTarget[i]);
    this.changed();
  }

  undo() {
    if (!this.past.length) return;
    this.turns++;
    this.future.push(this.now());
    this.take(this.past.pop());
  }

  redo() {
    if (!this.future.length) return;
    this.turns++;
    this.past.push(this.now());
    this.take(this.future.pop());
  }

  // Takes what a recipe holds.
  load(recipe, labelsOfTarget) {
    if (recipe.pictures.target === this.pictures.target) this.remember();
    this.turns++;
    this.setTarget(recipe.pictures.target, labelsOfTarget);
    this.pictures = recipe.pictures;
    this.absent = recipe.absent;
    this.blend = 1;
    this.byLabel = this.model.labels.map((_, label) => {
      const loaded = recipe.givers[label] ?? {};
      const roles = Object.keys(loaded);
      if (!roles.length) return { from: "target", share: 1 };
      if (roles.length === 1 && ROLES.includes(roles[0])) {
        return { from: roles[0], share: loaded[roles[0]] };
      }
      return { from: "loaded", share: 1, loaded };
    });
    this.take({ ...this.now(), labels: Uint8Array.from(recipe.labels ?? labelsOfTarget) });
  }
}
