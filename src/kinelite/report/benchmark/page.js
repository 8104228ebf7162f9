"use strict";
// Tables are sorted by a click on a head; cells without a number stay below. Points of figures say what they are.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const body = table.tBodies[0];
      const key = (row) => row.cells[column].dataset.value ?? "";
      const numeric = [...body.rows].some((row) => row.cells[column].dataset.kind === "number");
      const compare = (a, b) => {
        const [one, two] = [key(a), key(b)];
        if (one === "" || two === "") return (one === "") - (two === "");
        return (numeric ? one - two : one.localeCompare(two)) * (up ? 1 : -1);
      };
      body.append(...[...body.rows].sort(compare));
    });
  });
}

const tip = document.getElementById("tip");
const NEAR_PX = 22;
for (const figure of document.querySelectorAll("figure svg")) {
  const points = [...figure.querySelectorAll(".point")];
  for (const point of points) {
    const title = point.querySelector("title");
    point.dataset.tip = title.textContent;
    title.remove();
  }
  const show = (event) => {
    let [nearest, least] = [null, NEAR_PX];
    for (const point of points) {
      const box = point.getBoundingClientRect();
      const far = Math.hypot(event.clientX - box.x - box.width / 2, event.clientY - box.y - box.height / 2);
      if (far < least) [nearest, least] = [point, far];
    }
    tip.hidden = !nearest;
    if (!nearest) return;
    tip.textContent = nearest.dataset.tip;
    const left = Math.min(event.clientX + 14, document.documentElement.clientWidth - tip.offsetWidth - 8);
    const above = event.clientY - tip.offsetHeight - 12;
    tip.style.left = Math.max(left, 8) + "px";
    tip.style.top = (above < 8 ? event.clientY + 16 : above) + "px";
  };
  figure.addEventListener("pointermove", show);
  figure.addEventListener("pointerdown", show);
  figure.addEventListener("pointerleave", () => { tip.hidden = true; });
}
