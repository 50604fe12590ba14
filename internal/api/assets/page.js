// The page works without this script; it submits on change, remembers the key for this tab and keeps the panel live.
"use strict";

const form = document.getElementById("search");
const news = document.getElementById("news");
const panel = document.getElementById("panel");

// A change of mode, count or filter searches at once.
document.addEventListener("change", (event) => {
  const field = event.target;
  if (field.form === form && field.matches("input[type=radio], input[type=checkbox], select")) form.requestSubmit();
});
for (const apply of document.querySelectorAll(".apply")) apply.hidden = true;

// On a narrow screen the results matter more than a long list of filters.
const filters = document.getElementById("filters");
if (filters && window.matchMedia("(max-width: 760px)").matches) filters.open = false;

const key = document.getElementById("key");
if (key) {
  key.value = sessionStorage.getItem("key") || "";
  form.addEventListener("submit", () => sessionStorage.setItem("key", key.value));
}

// The panel is rendered by the server; only what changed is put in, so that nothing flickers or is read out twice.
async function refresh() {
  if (document.hidden) return;
  try {
    const answer = await fetch("/panel?lang=" + document.documentElement.lang, {cache: "no-store"});
    if (!answer.ok) throw new Error(answer.status);
    const html = await answer.text();
    panel.classList.remove("stale");
    if (html === panel.dataset.html) return;
    const before = panel.querySelector("[data-snapshot]")?.dataset.snapshot;
    panel.innerHTML = html;
    panel.dataset.html = html;
    const after = panel.querySelector("[data-snapshot]")?.dataset.snapshot;
    if (before !== after && after) {
      news.textContent = news.dataset.swapped + " " + after;
      panel.classList.remove("fresh");
      void panel.offsetWidth; // restarts the animation
      panel.classList.add("fresh");
    }
  } catch {
    panel.classList.add("stale");
  }
}
setInterval(refresh, 2000);
document.addEventListener("visibilitychange", refresh);
