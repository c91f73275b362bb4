/* News of segments that are being refreshed, without a reload by hand; and buttons that copy. */
(function () {
  "use strict";
  const PAUSE = 1500, LONGEST = 15000;

  function busy() {
    return [...document.querySelectorAll("[data-segment][data-word]")].filter(
      (badge) => ["refreshing", "queued"].includes(badge.dataset.word)
    );
  }

  function describe(badge, news) {
    badge.dataset.word = news.word;
    badge.textContent = news.seconds === null ? news.label : `${news.label} ${news.seconds} s`;
    badge.className = `segments-state segments-${news.word}`;
  }

  function announce(text) {
    const place = document.getElementById("segments-news");
    place.textContent = place.textContent ? `${place.textContent} ${text}` : text;
  }

  /* Fetch this page again, and take over what has changed on it. */
  async function renew() {
    const response = await fetch(location.href, { credentials: "same-origin" });
    if (!response.ok) return;
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

  async function watch(pause) {
    const badges = busy();
    if (!badges.length) return;
    const query = badges.map((badge) => `segment=${badge.dataset.segment}`).join("&");
    let next = Math.min(pause * 1.2, LONGEST);
    try {
      const response = await fetch(`${badges[0].dataset.url}?${query}`, {
        credentials: "same-origin", headers: { Accept: "application/json" },
      });
      if (!response.ok) return;
      const { segments } = await response.json();
      let done = false;
      for (const badge of badges) {
        const news = segments[badge.dataset.segment];
        if (!news) { badge.dataset.word = "gone"; continue; }
        describe(badge, news);
        if (!news.busy) { done = true; announce(news.text); }
      }
      if (done) { await renew(); next = PAUSE; }
    } catch (error) {
      next = LONGEST; /* The server does not answer at the moment. */
    }
    setTimeout(() => watch(next), next);
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
