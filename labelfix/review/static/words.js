// What the page says of kinds, decisions and classes.

let classes = [];

export function setClasses(names) {
  classes = names;
}

export const nameOf = (label) => (label === null || label === undefined ? "" : (classes[label] ?? ""));

export const KINDS = {
  mislabeled: "Mislabeled?",
  multi_label: "Several classes?",
  none_of_the_classes: "None of the classes?",
  missing: "Missing box?",
  spurious: "Should not be there?",
  wrong_class: "Wrong class?",
  bad_location: "Badly placed?",
  duplicate: "Duplicate?",
  group: "Several objects, or parts of one?",
};

export function acceptWords(entry) {
  const to = nameOf(entry.suggested);
  return {
    mislabeled: `Change to ${to}`,
    multi_label: `Both ${nameOf(entry.given)} and ${to}`,
    none_of_the_classes: "None of the classes",
    missing: `Add this box: ${to}`,
    spurious: "Delete the box",
    duplicate: "Delete the duplicate",
    wrong_class: `Change to ${to}`,
    bad_location: "Move it to the suggested box",
    group: "Take the suggested box instead",
  }[entry.kind];
}

export function keepWords(entry) {
  if (entry.kind === "missing") return "Nothing is missing";
  return entry.of === "boxes" ? "Keep the box as it is" : `Keep ${nameOf(entry.given)}`;
}

const MARKS = {
  multi_label: "several classes",
  none_of_the_classes: "none of the classes",
  group: "group of objects",
  ignore: "ignored",
};

const markWords = (mark, labels) => `Marked: ${labels?.length ? labels.map(nameOf).join(" and ") : MARKS[mark]}`;

export function stateWords(entry) {
  const { outcome, label, labels, mark } = entry.state;
  switch (outcome) {
    case "kept":
      return entry.kind === "missing" ? "Nothing is missing here" : `Kept${entry.of === "boxes" ? "" : ` ${nameOf(entry.given)}`}`;
    case "changed":
      return label === null ? "Moved" : `Changed to ${nameOf(label)}`;
    case "added":
      return `Added a box: ${nameOf(label)}`;
    case "deleted":
      return "Deleted";
    case "marked":
      return markWords(mark, labels);
    case "flagged":
      return "Flagged for another look";
    default:
      return "Skipped";
  }
}

export const PENDING = {
  accept: "Accepted", keep: "Kept", set_label: "Changed", set_box: "Moved", add_box: "Added",
  delete: "Deleted", mark: "Marked", skip: "Skipped", flag: "Flagged",
};

// What an act was, whatever else is said of the item.
export function actWords({ action, label, mark, labels, events }) {
  const words = {
    set_label: `Changed to ${nameOf(label)}`,
    add_box: `Added a box: ${nameOf(label)}`,
    mark: markWords(mark, labels),
  };
  return `${words[action] ?? PENDING[action]}${events > 1 ? `, ${events} at once` : ""}`;
}

export const percent = (share) => (share >= 0.995 ? ">.99" : share < 0.005 ? "<.01" : share.toFixed(2).replace(/^0/, ""));
