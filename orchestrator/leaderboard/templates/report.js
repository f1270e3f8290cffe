"use strict";
// Sorting, filtering, tooltips and highlights. The page is complete without them.
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // Sort a table by the column of a clicked header; what is not known comes last.
  const key = (row, column) => {
    const cell = row.cells[column];
    const value = cell.dataset.v ?? cell.textContent.trim();
    return cell.matches(".settings, .method, .problems, .flags") ? value : Number.parseFloat(value);
  };
  const compare = (a, b, sign) => {
    if (typeof a === "string") return sign * a.localeCompare(b, "en", { numeric: true });
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
    return sign * (a - b);
  };
  for (const button of all("th button")) {
    button.addEventListener("click", () => {
      const header = button.closest("th");
      const table = header.closest("table");
      const up = header.getAttribute("aria-sort") !== "ascending";
      for (const other of all("thead th", table)) other.removeAttribute("aria-sort");
      header.setAttribute("aria-sort", up ? "ascending" : "descending");
      const column = header.cellIndex;
      const rows = all("tbody tr", table).map((row) => [key(row, column), row]);
      rows.sort((a, b) => compare(a[0], b[0], up ? 1 : -1));
      table.tBodies[0].append(...rows.map((pair) => pair[1]));
    });
  }

  // Long tables show their first rows until more are asked for.
  const LONG = 16;
  const LONG_OVERVIEW = 40;
  const shortened = new Map();
  const lengthen = (box) => {
    box.classList.remove("short");
    shortened.get(box).remove();
    shortened.delete(box);
  };
  for (const table of all("section > .card table")) {
    const rows = table.tBodies[0].rows.length;
    const box = table.closest(".card");
    if (rows <= (box.matches(".overview") ? LONG_OVERVIEW : LONG)) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "all";
    button.textContent = `show all ${rows} rows`;
    button.addEventListener("click", () => lengthen(box));
    table.closest(".scroll").after(button);
    box.classList.add("short");
    shortened.set(box, button);
  }

  // Show only rows, and their marks, that have all the words of the filter.
  const filter = document.querySelector(".filter");
  if (filter) {
    filter.hidden = false;
    filter.querySelector("input").addEventListener("input", (event) => {
      for (const box of [...shortened.keys()]) lengthen(box);
      const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
      const out = new Set();
      for (const row of all("tr[data-row]")) {
        const text = row.dataset.words.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        if (row.hidden) out.add(row.dataset.row);
      }
      for (const part of all("[data-row]:not(tr)")) {
        part.classList.toggle("out", out.has(part.dataset.row));
      }
    });
  }

  // Point at a row, a curve or a mark: the same row stands out everywhere in its section.
  let lit = [];
  const light = (row) => {
    for (const part of lit) part.classList.remove("on");
    for (const section of all("section.focus")) section.classList.remove("focus");
    lit = row ? all(`[data-row="${row.dataset.row}"]`) : [];
    for (const part of lit) part.classList.add("on");
    if (lit.length) row.closest("section")?.classList.add("focus");
  };

  // One tooltip for everything that has data-tip.
  const tip = document.getElementById("tip");
  const place = (x, y) => {
    const { width, height } = tip.getBoundingClientRect();
    const left = Math.min(x + 14, document.documentElement.clientWidth - width - 6);
    const top = y - height - 12 < 4 ? y + 18 : y - height - 12;
    tip.style.transform = `translate(${Math.max(6, left)}px, ${top}px)`;
  };
  const point = (event) => {
    const told = event.target.closest?.("[data-tip]");
    tip.hidden = !told;
    if (told) {
      tip.textContent = told.dataset.tip;
      place(event.clientX, event.clientY);
    }
    const row = event.target.closest?.("[data-row]") ?? null;
    if (row?.dataset.row !== lit[0]?.dataset.row) light(row);
  };
  for (const kind of ["pointermove", "pointerdown"]) document.addEventListener(kind, point);
  document.addEventListener("scroll", () => { tip.hidden = true; }, { passive: true, capture: true });

  for (const button of all(".copy")) {
    if (!navigator.clipboard) continue;
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.previousElementSibling.textContent);
      button.textContent = "copied";
      setTimeout(() => { button.textContent = "copy"; }, 1500);
    });
  }
})();
