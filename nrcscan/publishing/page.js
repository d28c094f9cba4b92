"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const every = (selector, within = document) => [...within.querySelectorAll(selector)];
  const make = (name, text, kind) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };

  // Tables: a heading is a button that sorts, up, down, and back to the order of the file.
  const key = (row, column) => {
    const cell = row.cells[column];
    const given = cell.dataset.v ?? cell.textContent.trim();
    return given === "" || given === "—" ? null : given;
  };
  const compare = (a, b) => {
    const [x, y] = [Number(a), Number(b)];
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, undefined, { numeric: true }) : x - y;
  };
  const sortable = (table) => {
    const body = table.tBodies[0];
    const original = [...body.rows];
    const heads = [...table.tHead.rows[0].cells];
    const sort = (head, column) => {
      const before = head.getAttribute("aria-sort");
      const next = { none: "ascending", ascending: "descending", descending: "none" }[before];
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", next);
      const rows = [...original];
      if (next !== "none") {
        const sign = next === "ascending" ? 1 : -1;
        const known = rows.filter((row) => key(row, column) !== null);
        const rest = rows.filter((row) => key(row, column) === null);
        known.sort((a, b) => sign * compare(key(a, column), key(b, column)));
        body.append(...known, ...rest);
      } else body.append(...rows);
    };
    heads.forEach((head, column) => {
      const button = make("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => sort(head, column));
    });
  };
  every("table.sortable").forEach(sortable);

  // What is hovered or focused is told beside it, at once and in full.
  const tip = make("div", undefined, "tip");
  tip.hidden = true;
  document.body.append(tip);
  const told = (target) => {
    const marked = target.closest?.(".point, .cell") ?? target.querySelector?.(":scope > .point");
    if (!marked) return null;
    const title = marked.querySelector("title");
    if (title) {
      marked.dataset.tip = title.textContent;
      title.remove();
      marked.setAttribute("aria-label", marked.dataset.tip);
    }
    return marked;
  };
  const show = (event) => {
    const marked = told(event.target);
    tip.hidden = !marked;
    if (!marked) return;
    tip.textContent = marked.dataset.tip;
    const place = marked.getBoundingClientRect();
    const left = Math.min(Math.max(place.left, 4), window.innerWidth - tip.offsetWidth - 8);
    const above = place.top - tip.offsetHeight - 8;
    tip.style.left = `${Math.max(left, 4)}px`;
    tip.style.top = `${above > 4 ? above : place.bottom + 8}px`;
  };
  document.addEventListener("pointerover", show);
  document.addEventListener("focusin", show);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });
  document.addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });

  // A link to something closed opens it.
  const open = () => {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    for (let at = target; at; at = at.parentElement) if (at.localName === "details") at.open = true;
    if (target) target.scrollIntoView();
  };
  window.addEventListener("hashchange", open);
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href^='#']");
    if (link && link.getAttribute("href") === location.hash) open();
  });
  open();

  // Other thresholds: compare them with those between which an answer is undecided.
  const MET = 0, NOT_MET = 1, UNDECIDED = 2;
  const answer = ([lower, upper, always, open_], threshold, atMost) => {
    if (always >= 0) return always;
    if (atMost ? threshold < lower : threshold > upper) return NOT_MET;
    const met = atMost ? threshold >= upper : threshold <= lower;
    return met && !open_ ? MET : UNDECIDED;
  };
  const set = (marked, code) => {
    const [sign, words, style] = data.answers[code];
    data.answers.forEach(([, , other]) => marked.classList.remove(other));
    marked.classList.add(style);
    const shown = marked.querySelector("span[role=img]") ?? marked.querySelector("text:not(.lost)");
    if (shown) shown.textContent = sign;
    if (shown?.hasAttribute("role")) shown.setAttribute("aria-label", words);
    const title = marked.querySelector("title");
    const before = title ? title.textContent : marked.dataset.tip;
    if (before === undefined) return;
    const after = before.replace(/, [^,]*$/, `, ${words}`);
    if (title) title.textContent = after;
    else { marked.dataset.tip = after; marked.setAttribute("aria-label", after); }
  };
  const moveLines = (thresholds) => every("[data-threshold]").forEach((line) => {
    const at = data.conditions.findIndex((one) => one.name === line.dataset.threshold);
    const value = line.hasAttribute("data-inverse") ? 1 / thresholds[at] : thresholds[at];
    const [low, high, start, end, logarithmic] = line.dataset.axis.split(" ").map(Number);
    const scale = logarithmic ? Math.log : Number;
    const inside = Math.min(Math.max(value, low), high);
    const share = (scale(inside) - scale(low)) / (scale(high) - scale(low));
    line.setAttribute("transform", `translate(0 ${start + share * (end - start)})`);
  });
  const within = (condition, threshold) => {
    const short = (value) => String(Number(value.toPrecision(3)));
    if (condition.bothSides) return `${short(1 / threshold)} to ${short(threshold)}`;
    return `${condition.atMost ? "≤" : "≥"} ${short(threshold)}`;
  };
  const tellThresholds = (thresholds) => every("[data-within]").forEach((place) => {
    const at = data.conditions.findIndex((one) => one.name === place.dataset.within);
    const words = within(data.conditions[at], thresholds[at]);
    place.textContent = place.classList.contains("within") ? ` met at ${words}` : words;
  });
  const remark = (form, marks) => {
    const inputs = data.conditions.map((one) => document.getElementById(`t-${one.name}`));
    const status = document.getElementById("remarked");
    if (!inputs.every((input) => input.checkValidity())) {
      status.textContent = "A threshold is missing or out of range: the marks are those of before.";
      return;
    }
    const thresholds = inputs.map((input) => Number(input.value));
    let changed = 0, all = 0;
    const wholly = [], codes = [];
    data.reach.forEach((layers, c) => { codes.push(layers.map((reach, l) => {
      if (!reach) return null;
      const found = reach.map((one, i) => answer(one, thresholds[i], data.conditions[i].atMost));
      const before = reach.map((one, i) => answer(one, data.conditions[i].threshold, data.conditions[i].atMost));
      all += found.length;
      changed += found.filter((code, i) => code !== before[i]).length;
      if (found.every((code) => code === MET)) wholly.push([c, l]);
      return found;
    })); });
    marks.forEach(([marked, c, l, i]) => { if (codes[c][l]) set(marked, codes[c][l][i]); });
    moveLines(thresholds);
    tellThresholds(thresholds);
    const other = data.conditions.filter((one, i) => one.threshold !== thresholds[i]);
    if (!other.length) {
      status.textContent = "";
      return;
    }
    const flags = data.conditions.map((one, i) => [one, thresholds[i]])
      .filter(([one, value]) => one.threshold !== value).map(([one, value]) => `${one.flag} ${value}`);
    const names = data.layers && wholly.map(([, l]) => data.layers[l]);
    const where = names
      ? (names.length ? `All four are met at ${names.length <= 6 ? names.join(", ") : `${names.length} layers, ${names[0]} to ${names.at(-1)}`}.` : "All four are met at no layer.")
      : `All four are met at ${wholly.length} of ${all / 4} layers of all checkpoints.`;
    status.textContent = `${changed} of ${all} marks are other than with the report's thresholds. ${where} `
      + `The sentences and the shading are those of the report's thresholds; ${status.dataset.again} ${flags.join(" ")}.`;
  };
  const form = document.getElementById("thresholds");
  if (form) {
    const marks = every("[data-r]").map((marked) => [marked, ...marked.dataset.r.split(".").map(Number)]);
    form.hidden = false;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", () => remark(form, marks));
    form.addEventListener("reset", () => setTimeout(() => remark(form, marks)));
  }

  // A scan: rows that match are shown, and a checkpoint's numbers are set when it is opened.
  const filter = document.getElementById("filter");
  if (filter) {
    const [words, state] = [filter.querySelector("input"), filter.querySelector("select")];
    const count = filter.querySelector("output");
    const rows = every("#checkpoints tbody tr");
    filter.hidden = false;
    filter.addEventListener("input", () => {
      const wanted = words.value.trim().toLowerCase();
      rows.forEach((row) => {
        const fits = row.textContent.toLowerCase().includes(wanted);
        row.hidden = !(fits && (!state.value || row.dataset.state === state.value));
      });
      count.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length}`;
    });
    filter.addEventListener("submit", (event) => event.preventDefault());
  }
  const fill = (details) => {
    const found = data.numbers[Number(details.dataset.checkpoint)];
    if (!found || details.dataset.filled) return;
    details.dataset.filled = "yes";
    const table = make("table", undefined, "sortable");
    table.append(make("caption", "Every quantity, with its standard error"));
    const head = table.createTHead().insertRow();
    ["#", "layer", ...data.quantities].forEach((label, i) => {
      const cell = make("th", label, i === 1 ? undefined : "number");
      cell.scope = "col";
      head.append(cell);
    });
    const body = table.createTBody();
    found.forEach(([place, name, values]) => {
      const row = body.insertRow();
      row.append(make("td", place));
      const label = make("th");
      label.scope = "row";
      label.append(make("bdi", name, "name"));
      row.append(label);
      values.forEach((value) => {
        const why = typeof value === "number" ? data.reasons[value] : null;
        const [shown, error] = why === null ? value.split("±") : ["—"];
        const cell = make("td", shown);
        if (why !== null) cell.title = why;
        if (why === null) cell.dataset.v = shown;
        if (error) cell.append(make("small", ` ± ${error}`));
        row.append(cell);
      });
    });
    const scroll = make("div", undefined, "scroll");
    scroll.append(table);
    details.append(scroll);
    sortable(table);
  };
  if (data.numbers) {
    every("details[data-checkpoint]").forEach((details) => {
      details.addEventListener("toggle", () => { if (details.open) fill(details); });
      if (details.open) fill(details);
    });
  }
})();
