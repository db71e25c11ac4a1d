(() => {
  "use strict";
  const run = JSON.parse(document.getElementById("run").textContent);
  const { steps, needs } = run;
  const names = Object.keys(needs); // of the rows, in the order of computation
  const find = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const rows = new Map(all("#values tr[data-row]").map((tr) => [tr.dataset.row, tr]));
  const things = all("[data-q]").map((node) => ({ node, of: node.dataset.q.split("|") }));
  const symbols = new Map(all("template[data-symbol]").map((it) => [it.dataset.symbol, it]));
  const facts = new Map(all("template[data-what]").map((it) => [it.dataset.what, it]));
  const slider = find("#step");
  const curve = find("#mark");

  let at = run.start; // which of the kept steps
  let filled = null; // the step that the table and the drawing show
  let now = 0; // which computation in it
  let pointed = null; // what the pointer or the focus is on: { of: rows, show: names }
  let pinned = null; // what was clicked
  let timer = null;
  let asking = false; // whether values are hidden until they are computed
  let told = false; // whether the value of the computation shown is there then
  let yours = null; // { changed: numbers by name, step: what follows from them, as in steps }
  const root = document.documentElement;

  const make = (tag, text, className) => {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    if (className) node.className = className;
    return node;
  };
  // What a word or a quantity is called on this page.
  const say = (name) => (Object.hasOwn(run.called, name) ? run.called[name] : name);
  const torchOf = (cell) => (cell[1] === null ? cell[0] : cell[1]);
  const verdictOf = (cell) => (cell[3] === null ? "" : cell[3] === true ? `✓ ${say("agrees")}` : cell[3] ? `≈ ${say("not judged")}` : `✗ ${say("differs")}`);

  const reasonOf = (name, step) => step.step === run.decisive && step.rows[name][3] === false && run.why[name];

  function subject() {
    return pointed || pinned || { of: [names[now]], show: [names[now]] };
  }

  // The numbers that follow from given ones, some of which are changed.
  function computed(step, changed) {
    const q = { ...step.given, ...changed };
    for (const [name, formula] of Object.entries(formulas)) q[name] = formula(q);
    return q;
  }

  // A number as Python's format has it with `digits` significant digits; all of them without.
  function written(value, digits) {
    if (!Number.isFinite(value)) return Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
    const size = Math.abs(value);
    const isLong = size !== 0 && (size < 1e-4 || size >= 10 ** (digits || 16));
    const text = isLong ? value.toExponential(digits && digits - 1) : digits ? value.toPrecision(digits) : String(value);
    const [digitsOf, exponent] = text.split("e");
    const short = digits && digitsOf.includes(".") ? digitsOf.replace(/\.?0+$/, "") : digitsOf;
    return exponent ? `${short}e${exponent[0]}${exponent.slice(1).padStart(2, "0")}` : short;
  }
  const inFormula = (value) => (value < 0 ? `(${written(value, 9)})` : written(value, 9));

  // A step as in `steps`, from given numbers that a reader has changed.
  function changedStep(step, changed) {
    const before = computed(step, {});
    const q = computed(step, changed);
    const rowsOf = names.map((name) => {
      const cell = step.rows[name];
      const change = q[name] - before[name];
      const text = q[name] === before[name] ? say("the same") : `${change > 0 ? "+" : ""}${written(change, 3)}`;
      return [name, [written(q[name], run.digits || undefined), torchOf(cell), text, null, cell[4]]];
    });
    const filledIn = (texts, how) => Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, name in q ? how(q[name]) : text]));
    const most = Math.max(...Object.keys(step.widths).map((name) => Math.abs(q[name])));
    const widths = Object.keys(step.widths).map((name) => [name, most ? Math.round((100 * q[name]) / most) : 0]);
    return {
      ...step, rows: Object.fromEntries(rowsOf), put: filledIn(step.put, inFormula), by_torch: {},
      drawn: filledIn(step.drawn, (value) => written(value, 4)), widths: Object.fromEntries(widths),
    };
  }

  // How much a number changes at once: its second digit, of a weight or an input a hundredth at least.
  function unit(name) {
    const size = Math.abs(steps[at].given[name]);
    const digit = size > 0 ? 10 ** (Math.floor(Math.log10(size)) - 1) : 0.01;
    return name === "lr" ? digit : Math.max(digit, 0.01);
  }

  function change(name, value) {
    const step = steps[at];
    if (!run.changeable.includes(name) || !Object.values(step.given).every(Number.isFinite)) return;
    const by = unit(name);
    const changed = { ...(yours && yours.changed), [name]: Number((Math.round(value / by) * by).toPrecision(12)) };
    if (Math.abs(value - step.given[name]) < by / 2) delete changed[name]; // back where it was
    yours = Object.keys(changed).length ? { changed, step: changedStep(step, changed) } : null;
    render();
  }

  const valueOf = (name) => (yours && name in yours.changed ? yours.changed[name] : steps[at].given[name]);
  const theRun = () => (yours ? ["yours", "recorded", "change"] : [run.side, "PyTorch", "apart"]).map(say);

  function release() {
    yours = null;
    render();
  }

  // Says whose numbers are shown.
  function tell() {
    root.classList.toggle("yours", yours !== null);
    find("#yours").hidden = !yours;
    if (yours) {
      const each = Object.entries(yours.changed).map(([name, value]) => `${name === "lr" && say(name) === name ? "α" : say(name)} = ${written(value)}, ${say("recorded")} ${written(steps[at].given[name], 4)}`);
      find("#yours span").textContent = `${say("Yours")}: ${each.join("; ")}.`;
    }
    const titles = theRun();
    all("#values thead th").slice(2, 5).forEach((th, i) => (th.textContent = titles[i]));
    for (const tr of rows.values()) [".hand", ".torch", ".apart"].forEach((cell, i) => (find(cell, tr).dataset.head = titles[i]));
    const rate = find("#rate");
    if (rate) {
      find("b", rate).textContent = written(valueOf("lr"), 4);
      rate.setAttribute("aria-label", `learning rate ${written(valueOf("lr"), 4)}`);
    }
  }

  // Whether a value is hidden: it is computed later in this step.
  const unknown = (name) => {
    const when = names.indexOf(name);
    return asking && when >= 0 && (when > now || (when === now && !told));
  };

  function hide(step) {
    for (const [name, tr] of rows) tr.classList.toggle("unknown", unknown(name));
    for (const tr of all("tr[data-value-of]")) {
      tr.classList.toggle("unknown", tr.dataset.valueOf.split("|").some(unknown));
    }
    if (!step.drawn) return;
    for (const node of all("[data-value]")) {
      const name = node.dataset.value;
      node.textContent = unknown(name) ? "?" : step.drawn[name];
    }
  }

  function fillTable(step) {
    for (const [name, tr] of rows) {
      const cell = step.rows[name];
      find(".hand", tr).textContent = cell[0];
      find(".torch", tr).textContent = torchOf(cell);
      find(".apart", tr).textContent = cell[2];
      find(".mark", tr).textContent = verdictOf(cell);
      tr.classList.toggle("differs", cell[3] === false);
      const why = find(".why", tr);
      if (why) why.hidden = !reasonOf(name, step);
      if (run.scalars) fill(tr, step, cell);
      else find(".numbers code", tr).textContent = cell[4];
    }
    for (const tr of all("tr[data-value-of]")) {
      const names = tr.dataset.valueOf.split("|");
      const cell = step.rows[names.find((name) => step.rows[name][3] === false) || names[0]];
      find(".hand", tr).textContent = `${cell[4]} = ${cell[0]}`;
      find(".torch", tr).textContent = `${cell[4]} = ${torchOf(cell)}`;
      find(".mark", tr).textContent = verdictOf(cell).slice(0, 1);
      tr.classList.toggle("differs", cell[3] === false);
    }
    for (const { node, of } of things) {
      if (node.matches("[data-ours]")) {
        node.classList.toggle("unequal", of.some((name) => step.rows[name] && step.rows[name][3] === false));
      }
    }
  }

  // The numbers of a row's formula: the hand's, or PyTorch's where the hand gave nothing.
  function fill(row, step, cell) {
    const by = cell[3] === null ? step.by_torch : {};
    for (const slot of all("[data-put]", row)) {
      const name = slot.dataset.put;
      slot.textContent = name in by ? by[name] : step.put[name];
    }
  }

  function fillDrawing(step) {
    if (!step.drawn) return;
    for (const node of all("[data-value]")) node.textContent = step.drawn[node.dataset.value];
    for (const edge of all("[data-edge]")) {
      const wide = step.widths[edge.dataset.edge];
      edge.classList.toggle("negative", wide < 0);
      find(".wire", edge).setAttribute("stroke-width", 1 + Math.abs(wide) * 0.09);
    }
  }

  function light(what) {
    const lit = new Set(what.of);
    const needed = new Set(what.of.length === 1 ? needs[what.of[0]] || [] : []);
    const touches = (of, set) => of.some((name) => set.has(name));
    for (const { node, of } of things) {
      const isLit = touches(of, lit);
      node.classList.toggle("lit", isLit);
      node.classList.toggle("needed", !isLit && touches(of, needed));
    }
    for (const [name, tr] of rows) {
      tr.classList.toggle("lit", lit.has(name));
      tr.classList.toggle("needed", !lit.has(name) && needed.has(name));
    }
  }

  // Puts each weight's number beside its line where it lies on no other text.
  function place() {
    const boxes = all("#network text:not(.weight)").map((text) => text.getBBox());
    for (const text of all("#network .weight")) {
      const { width, height, y } = text.getBBox();
      if (!width) continue; // not shown
      const line = lines.get(text.dataset.show.split("|")[0]);
      const up = y - Number(text.getAttribute("y"));
      let best = null;
      for (const [along, lower] of places) {
        const x = line.x1 + (line.x2 - line.x1) * along;
        const base = line.y1 + (line.y2 - line.y1) * along - 5 + lower * height;
        const box = { x: x - width / 2, y: base + up, width, height };
        const covers = boxes.reduce((sum, other) => sum + common(box, other), 0);
        if (!best || covers < best.covers) best = { x, base, box, covers };
        if (!covers) break;
      }
      text.setAttribute("x", best.x);
      text.setAttribute("y", best.base);
      boxes.push(best.box);
    }
  }
  const overlap = (a, b, from, size) => Math.max(0, Math.min(a[from] + a[size], b[from] + b[size]) - Math.max(a[from], b[from]));
  const common = (a, b) => overlap(a, b, "x", "width") * overlap(a, b, "y", "height");
  // how far along the line, and how much lower than just above it, in heights of the text
  const places = [0, 1.3, 0.6, -0.7, 2].flatMap((lower) => [0.4, 0.5, 0.45, 0.55, 0.35, 0.6, 0.3, 0.65, 0.7].map((along) => [along, lower]));
  const ends = ["x1", "y1", "x2", "y2"];
  const lines = new Map(all("[data-edge]").map((edge) => [
    edge.dataset.edge, Object.fromEntries(ends.map((end) => [end, Number(find(".wire", edge).getAttribute(end))])),
  ]));

  function entry(name, step) {
    const box = make("div", undefined, "entry");
    const cell = step.rows[name];
    if (!cell) return plain(name, step, box);
    const tr = rows.get(name);
    const fact = facts.get(name);
    box.append(make("p", fact.content.textContent, "what"));
    const formula = make("p", undefined, "formula");
    for (const math of all("math", tr)) formula.append(math.cloneNode(true), " ");
    box.append(formula);
    const line = things.find(({ node, of }) => node.matches(".sources td[data-ours]") && of.includes(name));
    if (line) box.append(make("p", find("code", line.node).textContent.trim(), "line"));
    if (unknown(name)) {
      box.append(make("p", "= ?", "numbers"));
      return box;
    }
    if (run.scalars && find("[data-put]", tr)) box.append(make("p", `= ${find(".numbers", tr).textContent}`, "numbers"));
    const list = make("dl");
    const add = (word, value) => list.append(make("dt", word), make("dd", value));
    if (!run.scalars) add(say("worst element"), cell[4]);
    const [ours, theirs, apart] = theRun();
    if (cell[0]) add(ours, cell[0]);
    add(theirs, torchOf(cell));
    if (!yours) list.lastChild.append(" ", make("code", fact.dataset.place, "place"));
    add(apart, cell[2]);
    if (!yours) list.append(make("dt", say("verdict")), make("dd", verdictOf(cell) || say("none"), "mark"));
    const why = reasonOf(name, step);
    if (why) list.append(make("dt", say("looks like")), make("dd", why, "why"));
    box.append(list);
    box.classList.toggle("differs", cell[3] === false);
    return box;
  }

  function plain(name, step, box) {
    const line = make("p", undefined, "formula");
    const symbol = symbols.get(name);
    if (symbol) line.append(symbol.content.cloneNode(true));
    line.append(` = ${step.put[name].replace(/[()]/g, "")}`);
    box.append(line);
    return box;
  }

  function counted(step, name, isPointedAt) {
    const count = `${yours ? `${say("yours")}, ` : ""}${say("step")} ${step.step}, `;
    const which = names.indexOf(name);
    return isPointedAt || which < 0 ? count + say(name) : `${count}${say("computation")} ${which + 1} ${say("of")} ${names.length}: ${say(name)}`;
  }

  function showPanel(step, what) {
    find("#count").textContent = counted(step, what.show[0], pointed || pinned);
    find("#entries").replaceChildren(...what.show.map((name) => entry(name, step)));
    const map = find("#heat");
    if (map) map.replaceChildren(...what.of.filter((name) => step.heat[name]).slice(0, 1).map((name) => maps(name, step.heat[name])));
  }

  // Three maps of a matrix: by hand, PyTorch, and their difference as a part of what is allowed.
  function maps(name, heat) {
    const box = make("div", undefined, "maps");
    const size = (value) => Math.abs(Number(value));
    const torch = heat.torch.map((value, i) => (value === null ? heat.hand[i] : value));
    const most = Math.max(...heat.hand.concat(torch).map(size).filter(Number.isFinite), 1e-300);
    const signed = (value) => [size(value) / most, Number(value) < 0 ? "minus" : "plus"];
    const apart = (ratio) => (Number(ratio) > 1 || ratio === "inf" ? [1, "beyond"] : [Number(ratio), "within"]);
    const kinds = [
      [run.side, heat.hand, signed, (i) => heat.hand[i]],
      ["PyTorch", torch, signed, (i) => torch[i]],
      [`difference / allowed, up to ${heat.most}`, heat.ratio, apart, (i) => heat.ratio[i]],
    ];
    for (const [title, values, shade, text] of kinds) box.append(map(name, heat, title, values, shade, text));
    const whole = heat.shape.join(" × ");
    if (heat.at) box.append(make("p", `${name} is ${whole}: each cell is the element of its block that differs most.`, "legend"));
    return box;
  }

  function map(name, heat, title, values, shade, text) {
    const [high, wide] = heat.grid;
    const space = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(space, "svg");
    svg.setAttribute("viewBox", `0 0 ${wide} ${high}`);
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", `${name}, ${title}, as a map of ${high} by ${wide} cells`);
    values.forEach((value, i) => {
      const [strength, kind] = shade(value);
      const cell = document.createElementNS(space, "rect");
      const inset = (1 - Math.sqrt(Math.min(Math.max(strength || 0, 0), 1))) / 2;
      const x = i % wide, y = Math.floor(i / wide);
      cell.setAttribute("x", x + inset);
      cell.setAttribute("y", y + inset);
      cell.setAttribute("width", 1 - 2 * inset);
      cell.setAttribute("height", 1 - 2 * inset);
      cell.setAttribute("class", kind);
      const position = heat.at ? heat.at[i] : i;
      const columns = heat.shape[heat.shape.length - 1];
      const index = heat.shape.length === 1 ? position : `${Math.floor(position / columns)}, ${position % columns}`;
      const label = document.createElementNS(space, "title");
      label.textContent = `${name}[${index}] ${text(i)}`;
      cell.append(label);
      svg.append(cell);
    });
    const figure = make("figure");
    figure.append(svg, make("figcaption", title));
    return figure;
  }

  function render() {
    const step = yours ? yours.step : steps[at];
    slider.value = at;
    slider.setAttribute("aria-valuetext", `training step ${step.step}`);
    find("#number").textContent = step.step;
    find("#tablestep").textContent = step.step;
    if (filled !== step) {
      fillTable(step);
      fillDrawing(step);
      tell();
      filled = step;
    }
    hide(step);
    const [x, y] = run.marks[at];
    curve.toggleAttribute("hidden", y === "nan");
    curve.setAttribute("cx", x);
    curve.setAttribute("cy", y === "nan" ? 0 : y);
    const what = subject();
    light(what);
    place();
    showPanel(step, what);
    reachable(".entry .formula");
    if (tallest && find(".now").offsetHeight > tallest) {
      tallest = find(".now").offsetHeight; // another step's numbers are longer
      root.style.setProperty("--tallest", `${tallest}px`);
    }
  }

  // The panel is as high as its highest entry, and a line for the longer numbers of other steps, so
  // that nothing below it moves while one steps.
  let tallest = 0;
  function settle() {
    const box = find(".now");
    const probe = make("div", undefined, "probe");
    probe.style.width = `${find("#entries").clientWidth}px`;
    for (const name of names) {
      const one = make("div");
      one.append(make("h2", counted(steps[at], name)), entry(name, steps[at]));
      if (steps[at].heat && steps[at].heat[name]) one.append(maps(name, steps[at].heat[name]));
      probe.append(one);
    }
    box.append(probe);
    const style = getComputedStyle(box);
    const around = box.offsetHeight - box.clientHeight + parseFloat(style.paddingTop) + parseFloat(style.paddingBottom);
    const line = 2 * parseFloat(style.fontSize);
    tallest = Math.ceil(Math.max(...[...probe.children].map((one) => one.offsetHeight)) + around + line);
    probe.remove();
    root.style.setProperty("--tallest", `${tallest}px`);
  }

  // What is wider than its box can be scrolled by keys, too.
  function reachable(selector) {
    const boxes = all(selector).map((box) => [box, box.scrollWidth > box.clientWidth]);
    for (const [box, isWide] of boxes) {
      if (isWide) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  }

  function address() {
    try {
      const how = [...(asking ? ["hide"] : []), ...(root.classList.contains("present") ? ["present"] : [])];
      const where = [`step=${steps[at].step}`, `at=${encodeURIComponent(names[now])}`, ...how];
      history.replaceState(null, "", `#${where.join("&")}`);
    } catch {
      // a page in a frame may not have an address of its own
    }
  }

  function arrive(index) {
    at = index;
    yours = null;
  }

  function goTo(index) {
    arrive(Math.min(Math.max(index, 0), steps.length - 1));
    render();
    address();
  }

  function compute(by) {
    if (asking && !told && by > 0) {
      told = true; // first its value, then the next one
      render();
      return true;
    }
    told = by < 0;
    now += by;
    if (now >= names.length && at < steps.length - 1) {
      arrive(at + 1);
      now = 0;
    } else if (now < 0 && at > 0) {
      arrive(at - 1);
      now = names.length - 1;
    }
    const isAtTheEnd = now < 0 || now >= names.length;
    told = told || isAtTheEnd;
    now = Math.min(Math.max(now, 0), names.length - 1);
    render();
    address();
    return !isAtTheEnd;
  }

  function advance() {
    const byStep = find("#pace").value === "step";
    const goesOn = byStep ? at < steps.length - 1 : compute(1);
    if (byStep && goesOn) goTo(at + 1);
    if (!goesOn) pause();
  }

  function pause() {
    clearInterval(timer);
    timer = null;
    find("#play").lastChild.textContent = ` ${say("play")}`;
    find("#play span").textContent = "▶";
  }

  function play() {
    if (timer) return pause();
    timer = setInterval(advance, find("#pace").value === "step" ? 500 : 1000);
    find("#play").lastChild.textContent = ` ${say("pause")}`;
    find("#play span").textContent = "❚❚";
    return undefined;
  }

  function fromAddress() {
    const asked = new URLSearchParams(location.hash.slice(1));
    for (const [key, value] of new URLSearchParams(location.search)) asked.append(key, value);
    asking = asking || asked.has("hide");
    if (asked.has("present")) root.classList.add("present");
    const wanted = Number(asked.get("step"));
    if (Number.isInteger(wanted) && wanted > 0) {
      const distances = steps.map((step) => Math.abs(step.step - wanted));
      at = distances.indexOf(Math.min(...distances));
    }
    if (!names.includes(asked.get("at"))) return false;
    now = names.indexOf(asked.get("at"));
    return true;
  }

  function present() {
    root.classList.toggle("present");
    bar();
    render();
    address();
  }

  function ask() {
    asking = !asking;
    told = false;
    render();
    address();
  }

  const described = (node) => {
    if (!(node instanceof Element)) return null;
    const row = node.closest("[data-row]");
    if (row) return { of: [row.dataset.row], show: [row.dataset.row] };
    const thing = node.closest("[data-q]");
    if (!thing) return null;
    const of = thing.dataset.q.split("|");
    const shown = thing.dataset.show ? thing.dataset.show.split("|") : of;
    const known = shown.filter((name) => steps[at].rows[name] || (steps[at].put && name in steps[at].put));
    return known.length ? { of, show: known } : null;
  };
  const same = (one, other) => one && other && one.show.join() === other.show.join();
  const pointAt = (what) => {
    if (same(what, pointed) || (!what && !pointed)) return;
    pointed = what;
    render();
  };

  const pick = (node) => {
    const what = described(node);
    if (!what) return;
    pinned = same(what, pinned) ? null : what;
    if (pinned && what.show.length === 1 && names.includes(what.show[0])) now = names.indexOf(what.show[0]);
    render();
    address();
  };
  const isControl = (node) => node instanceof Element && node.closest("button, input, select, a");

  document.addEventListener("pointerover", (event) => !held && event.pointerType === "mouse" && pointAt(described(event.target)));
  document.addEventListener("focusin", (event) => event.target.matches(":focus-visible") && pointAt(described(event.target)));
  document.addEventListener("focusout", () => pointAt(null));
  document.addEventListener("click", (event) => dragged || pick(event.target));

  // A given number follows the pointer that drags it up or down.
  let held = null; // { name, from: its number, y: where the pointer took it }
  let dragged = false; // whether the click that ends it is part of it
  const touched = (node) => node instanceof Element && node.closest("[data-touch]");
  document.addEventListener("pointerdown", (event) => {
    const node = touched(event.target);
    dragged = false;
    held = node && event.button === 0 ? { name: node.dataset.touch, from: valueOf(node.dataset.touch), y: event.clientY } : null;
  });
  document.addEventListener("pointermove", (event) => {
    if (!held || (!dragged && Math.abs(event.clientY - held.y) < 4)) return;
    dragged = true;
    pointed = null;
    change(held.name, held.from + Math.round((held.y - event.clientY) / 3) * unit(held.name));
    event.preventDefault();
  });
  for (const ended of ["pointerup", "pointercancel"]) document.addEventListener(ended, () => (held = null));
  document.addEventListener("keydown", (event) => {
    const inControl = isControl(event.target);
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if ((event.key === "ArrowRight" || event.key === "ArrowLeft") && !(inControl && event.target.matches("input, select"))) {
      const by = event.key === "ArrowRight" ? 1 : -1;
      pinned = pointed = null;
      if (event.shiftKey) goTo(at + by);
      else compute(by);
    } else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      const node = touched(event.target);
      if (!node) return;
      const name = node.dataset.touch;
      change(name, valueOf(name) + (event.key === "ArrowUp" ? 1 : -1) * (event.shiftKey ? 10 : 1) * unit(name));
    } else if (event.key.toLowerCase() === "r" && yours) release();
    else if (event.key === " " && !inControl) play();
    else if (event.key === "Enter" && !inControl) pick(event.target);
    else if (event.key.toLowerCase() === "p" && !event.shiftKey) present();
    else if (event.key.toLowerCase() === "h" && !event.shiftKey) ask();
    else if (event.key === "Escape") {
      pinned = pointed = null;
      render();
    } else return;
    event.preventDefault();
  });
  const moved = (by) => () => {
    pinned = null;
    compute(by);
  };
  find("#return").addEventListener("click", release);
  find("#back").addEventListener("click", moved(-1));
  find("#on").addEventListener("click", moved(1));
  find("#play").addEventListener("click", play);
  find("#pace").addEventListener("change", () => timer && (pause(), play()));
  slider.addEventListener("input", () => goTo(Number(slider.value)));
  window.addEventListener("hashchange", () => {
    yours = null;
    fromAddress();
    render();
  });
  // Printed is the step that is shown, of the recorded run, and nothing of it is lit.
  let before = null;
  window.addEventListener("beforeprint", () => {
    before = [pinned, yours];
    pinned = pointed = yours = null;
    render();
    for (const node of all(".lit, .needed")) node.classList.remove("lit", "needed");
  });
  window.addEventListener("afterprint", () => {
    [pinned, yours] = before;
    render();
  });

  root.classList.add("live");
  const bar = () => {
    root.style.setProperty("--bar", `${find(".controls").offsetHeight}px`);
    reachable(".step .formula");
    place();
    if (steps[at].rows) settle();
  };
  window.addEventListener("resize", bar);
  if (!fromAddress() && steps[at].rows) now = Math.max(names.findIndex((name) => steps[at].rows[name][3] === false), 0);
  render();
  bar();
})();
