"use strict";
// Presses buttons by keys, stops films, enters the code of a link, and keeps the operator's page up to date.
// Nothing on the pages needs it.

let sent = false;

document.addEventListener("submit", (event) => {
  if (sent) event.preventDefault(); // a second press must not answer a pair that nobody has seen
  sent = true;
});
addEventListener("pageshow", () => { sent = false; });

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || sent) return;
  const at = document.activeElement;
  if (at && /^(INPUT|TEXTAREA|SELECT)$/.test(at.tagName)) return;
  if (event.key === "Enter" && at && /^(A|BUTTON)$/.test(at.tagName)) return;
  if (event.key === "p" && pause) { pause.click(); return; }
  for (const button of document.querySelectorAll("button[data-keys]")) {
    if (!button.dataset.keys.split(" ").includes(event.key)) continue;
    event.preventDefault();
    if (!button.form.dataset.after) button.click(); // a key that was meant for the page before answers nothing here
    return;
  }
});

for (const form of document.querySelectorAll("form[data-after]")) {
  setTimeout(() => form.removeAttribute("data-after"), Number(form.dataset.after));
}

const pause = document.getElementById("pause");
if (pause && !matchMedia("(prefers-reduced-motion: reduce)").matches) {
  pause.hidden = false;
  pause.addEventListener("click", () => {
    const stopped = pause.getAttribute("aria-pressed") !== "true";
    pause.setAttribute("aria-pressed", String(stopped));
    for (const film of document.querySelectorAll("img.film")) {
      film.dataset.film ||= film.getAttribute("src");
      film.src = stopped ? film.dataset.still : film.dataset.film;
    }
  });
}

const entry = document.getElementById("enter");
if (entry && location.hash.length > 1) {
  entry.elements.code.value = decodeURIComponent(location.hash.slice(1));
  history.replaceState(null, "", location.pathname);
  entry.requestSubmit();
}

const live = document.getElementById("live");
if (live) {
  setInterval(async () => {
    if (document.hidden) return;
    try {
      const reply = await fetch(location.pathname, { credentials: "same-origin" });
      const page = new DOMParser().parseFromString(await reply.text(), "text/html").getElementById("live");
      if (page && page.innerHTML !== live.innerHTML) live.replaceChildren(...page.childNodes);
    } catch (error) {
      console.log("The server does not answer; trying again.");
    }
  }, Number(live.dataset.every));
}
