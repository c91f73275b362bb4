/* News of segments that are being refreshed, without a reload by hand; and buttons that copy. */
(function () {
  "use strict";
  const PAUSE = 1500, LONGEST = 15000, AFTER_FAILURES = 60000, PATIENCE = 3;

  let stale = false; /* Whether the page shows less than the badges say. */

  function busy() {
    return [...document.querySelectorAll("[data-segment][data-word]")].filter(
      (badge) => ["refreshing", "queued"].includes(badge.dataset.word)
    );
  }

  function describe(badge, news) {
    badge.dataset.word = news.word;
    badge.textContent = news.label;
    badge.className = `segments-state segments-${news.word}`;
  }

  function announce(text) {
    const place = document.getElementById("segments-news");
    const before = place.dataset.silent ? "" : place.textContent;
    delete place.dataset.silent;
    place.textContent = before ? `${before} ${text}` : text;
  }

  /* Say that the server does not answer, or that it does again. */
  function announceSilence(silent) {
    const place = document.getElementById("segments-news");
    if (!place || silent === Boolean(place.dataset.silent)) return;
    if (silent) {
      announce(place.dataset.lost);
      place.dataset.silent = "1";
    } else {
      place.textContent = "";
      delete place.dataset.silent;
    }
  }

  /* Fetch this page again, and take over what has changed on it. */
  async function renew() {
    const response = await fetch(location.href, { credentials: "same-origin" });
    if (!response.ok) throw new Error(response.statusText);
    const other = new DOMParser().parseFromString(await response.text(), "text/html");
    for (const part of document.querySelectorAll("[data-segments-live]")) {
      const fresh = other.getElementById(part.id);
      if (fresh) part.replaceWith(document.adoptNode(fresh));
    }
    for (const badge of document.querySelectorAll("#result_list [data-segment]")) {
      const fresh = other.querySelector(`#result_list [data-segment="${badge.dataset.segment}"]`);
      if (!fresh) continue;
      const cells = fresh.closest("tr").children;
      [...badge.closest("tr").children].forEach((cell, place) => {
        if (!cell.classList.contains("action-checkbox") && cells[place]) {
          cell.replaceChildren(...[...cells[place].childNodes].map((n) => document.adoptNode(n)));
        }
      });
    }
  }

  async function ask(badges) {
    const query = badges.map((badge) => `segment=${badge.dataset.segment}`).join("&");
    const response = await fetch(`${badges[0].dataset.url}?${query}`, {
      credentials: "same-origin", headers: { Accept: "application/json" },
    });
    if (!response.ok) throw new Error(response.statusText);
    const { segments } = await response.json();
    for (const badge of badges) {
      const news = segments[badge.dataset.segment];
      if (!news) { badge.dataset.word = "gone"; continue; }
      describe(badge, news);
      if (!news.busy) { stale = true; announce(news.text); }
    }
  }

  async function watch(pause, failures = 0) {
    const badges = busy();
    if (!badges.length && !stale) return;
    let next = Math.min(pause * 1.2, LONGEST);
    try {
      if (badges.length) await ask(badges);
      if (stale) { await renew(); stale = false; next = PAUSE; }
      failures = 0;
      announceSilence(false);
    } catch (error) {
      failures += 1; /* The server does not answer at the moment. */
      next = Math.min(pause * 2, AFTER_FAILURES);
      if (failures >= PATIENCE) announceSilence(true);
    }
    setTimeout(() => watch(next, failures), next);
  }

  function offerCopies() {
    if (!navigator.clipboard) return;
    for (const button of document.querySelectorAll("[data-copy]")) {
      button.hidden = false;
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
        const before = [...button.childNodes];
        button.textContent = button.dataset.done;
        setTimeout(() => button.replaceChildren(...before), 1500);
      });
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    watch(PAUSE);
    offerCopies();
  });
})();
