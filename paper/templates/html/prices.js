// Where a page has the counts of round trips, a reader types what a trap and a register access cost, and sees which way wins.
const counts = document.getElementById("priced");
const place = document.getElementById("your-prices");
if (counts && place) {
  const rows = [...counts.tBodies[0].rows].map((row) => [...row.cells].map((cell) => cell.textContent.trim()));
  const boards = [...new Set(rows.map((row) => row[0]))];
  const guests = [...new Set(rows.map((row) => row[1]))];
  const add = (parent, tag, text = "", attributes = {}) => {
    const made = document.createElement(tag);
    made.textContent = text;
    Object.entries(attributes).forEach(([name, value]) => made.setAttribute(name, value));
    parent.append(made);
    return made;
  };
  const counted = (all, name) => (all.length === 1 ? `one ${name}` : `${all.length} ${name}s`);
  const form = document.createElement("div");
  form.className = "prices";
  const ask = (words, value) =>
    add(add(form, "label", `${words} `), "input", "", { type: "number", min: 0, step: "any", value, inputmode: "decimal" });
  const prices = [ask("a trap, in instructions beyond its own", 0), ask("a debug register access, in the same", 0)];
  const said = add(form, "p", "", { role: "status" });
  const wide = add(form, "div", "", { class: "wide", tabindex: 0, role: "region", "aria-label": "The winner at your prices" });
  const table = add(wide, "table");
  place.after(form);

  const cost = ([, , , instructions, traps, accesses], [trap, access]) => +instructions + traps * trap + accesses * access;
  const winner = (board, guest, at) => {
    const ranked = rows.filter((row) => row[0] === board && row[1] === guest).map((row) => [cost(row, at), row[2]]);
    ranked.sort(([a], [b]) => a - b);
    if (!ranked.length) return ["", "-"];
    const first = ranked.filter(([much]) => much - ranked[0][0] < 0.5).map(([, name]) => name).join(" = ");
    const next = ranked.find(([much]) => much - ranked[0][0] >= 0.5);
    return [first, next ? `${first}, by ${Math.round(next[0] - ranked[0][0])}` : first];
  };
  // A ring on each map of prices; its axes are logarithmic, from 1 to 1000 and to 100000.
  const rings = [...document.querySelectorAll("[id*='prices-map']")].map((map) => {
    const ring = document.createElementNS(map.namespaceURI, "circle");
    ring.setAttribute("class", "mark");
    ring.setAttribute("r", 5);
    map.ownerSVGElement.append(ring);
    return [map, ring];
  });
  const share = (price, decades) => Math.min(1, Math.max(0, Math.log10(price || 1) / decades));
  const mark = ([trap, access]) =>
    rings.forEach(([map, ring]) => {
      const box = map.getBBox();
      ring.setAttribute("cx", box.x + box.width * share(access, 3));
      ring.setAttribute("cy", box.y + box.height * (1 - share(trap, 5)));
    });
  const show = () => {
    const at = prices.map((input) => input.valueAsNumber);
    if (!at.every((price) => price >= 0 && price < 1e15)) {
      said.textContent = "A price is a number, 0 or more.";
      table.replaceChildren();
      return;
    }
    const won = {};
    table.replaceChildren();
    const head = add(add(table, "thead"), "tr");
    ["guest", ...boards].forEach((name) => add(head, "th", name, { scope: "col" }));
    const body = add(table, "tbody");
    guests.forEach((guest) => {
      const line = add(body, "tr");
      add(line, "th", guest, { scope: "row" });
      boards.forEach((board) => {
        const [first, words] = winner(board, guest, at);
        if (first) won[first] = (won[first] || 0) + 1;
        add(line, "td", words);
      });
    });
    const ranked = Object.entries(won).sort(([, a], [, b]) => b - a).map(([name, times]) => `${name} in ${times}`);
    said.textContent = `The cheapest of ${counted(guests, "guest")} on ${counted(boards, "board")}: ${ranked.join(", ")}.`;
    mark(at);
  };
  prices.forEach((input) => input.addEventListener("input", show));
  document.addEventListener("toggle", show, true); // a map that was folded away has no size
  show();
}
