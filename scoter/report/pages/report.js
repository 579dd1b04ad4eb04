"use strict";
document.documentElement.classList.add("scripted");
const say = (text) => { document.getElementById("said").textContent = text; };

// Tables: a button in the head of each column sorts the rows; empty cells stay last. Another one
// downloads the table as CSV.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    if (head.classList.contains("fixed")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sortBy(table, body, head, column));
  });
  const name = table.caption.textContent.trim(), button = document.createElement("button");
  button.type = "button";
  button.className = "csv";
  button.textContent = "CSV";
  button.title = "Download this table as CSV";
  button.addEventListener("click", () => download(table, name));
  table.caption.append(button);
}

function download(table, name) {
  const kept = [...table.tHead.rows[0].cells].map((head) => !head.classList.contains("fixed"));
  const words = (node) => [...node.childNodes].map((child) => child.textContent.trim()).filter(Boolean).join(" ");
  const line = (row) => [...row.cells].filter((_, i) => kept[i]).map((cell) => `"${words(cell).replaceAll('"', '""')}"`).join(",");
  const text = [table.tHead.rows[0], ...table.tBodies[0].rows].map(line).join("\r\n") + "\r\n";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = `${name.toLowerCase().replace(/[^a-z0-9]+/g, "-").slice(0, 60)}.csv`;
  link.click();
  URL.revokeObjectURL(link.href);
  say(`${link.download} downloaded`);
}

function sortBy(table, body, head, column) {
  const text = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
  const number = (row) => parseFloat(text(row).replaceAll(",", ""));
  const rows = [...body.rows], filled = rows.filter((row) => text(row) !== "");
  const numeric = filled.every((row) => !Number.isNaN(number(row)));
  const before = head.getAttribute("aria-sort");
  const rising = before ? before === "descending" : !numeric;
  const order = (a, b) => (numeric ? number(a) - number(b) : text(a).localeCompare(text(b), "en", { numeric: true }));
  filled.sort((a, b) => (rising ? order(a, b) : order(b, a)));
  body.append(...filled, ...rows.filter((row) => text(row) === ""));
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", rising ? "ascending" : "descending");
  say(`Sorted by ${head.textContent.trim()}, ${rising ? "ascending" : "descending"}`);
}

// Explorers: one user is shown at a time; the list may be narrowed by words and by what a method found.
for (const explorer of document.querySelectorAll(".explorer")) {
  const users = [...explorer.querySelectorAll("article")];
  const [words, outcome, list, count] = ["words", "outcome", "list", "count"].map((name) => explorer.querySelector(`.${name}`));
  const options = users.map((user) => new Option(user.dataset.label, user.id));
  const texts = users.map((user) => user.textContent.toLowerCase());
  const found = users.map((user) => user.dataset.found.split(" "));

  const show = (id) => {
    for (const user of users) user.classList.toggle("chosen", user.id === id);
    list.value = id;
  };
  const narrow = () => {
    const wanted = words.value.trim().toLowerCase(), [kind, method] = outcome.value.split(" ");
    const kept = options.filter((_, i) => texts[i].includes(wanted) && (!method || found[i].includes(method) === (kind === "hit")));
    const chosen = list.value;
    list.replaceChildren(...kept);
    count.textContent = `${kept.length} of ${users.length} users`;
    const next = kept.find((option) => option.value === chosen) ?? kept[0];
    show(next ? next.value : "");
  };
  const step = (by) => {
    const place = Math.min(Math.max(list.selectedIndex + by, 0), list.options.length - 1);
    if (place >= 0) choose(list.options[place].value);
  };
  const choose = (id) => {
    show(id);
    history.replaceState(null, "", `#${id}`);
  };
  const linked = () => {
    const id = decodeURIComponent(location.hash.slice(1));
    if (!users.some((user) => user.id === id)) return;
    words.value = outcome.value = "";
    narrow();
    show(id);
  };
  words.addEventListener("input", narrow);
  outcome.addEventListener("change", narrow);
  list.addEventListener("change", () => choose(list.value));
  explorer.querySelector(".previous").addEventListener("click", () => step(-1));
  explorer.querySelector(".next").addEventListener("click", () => step(1));
  addEventListener("hashchange", linked);
  narrow();
  show((users.find((user) => "opens" in user.dataset) ?? users[0]).id);
  linked();
}
