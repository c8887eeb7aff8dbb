// What the page can do beyond a form: photos dropped, chosen or pasted, "more like this" in place, and the keyboard.
"use strict";
document.documentElement.classList.add("js");

document.addEventListener("DOMContentLoaded", () => {
  const id = (name) => document.getElementById(name);
  const form = id("search"), q = id("q"), photo = id("photo"), like = id("like"), results = id("results");
  const look = id("look"), preview = id("preview"), lookName = id("look-name"), mix = id("mix"), drop = id("drop");
  const filters = id("filters");
  const controls = filters ? [...filters.querySelectorAll("select, input")] : [];
  photo.disabled = false; // without this script it would put its file's name into the address

  const search = () => form.requestSubmit();
  const asked = () => q.value.trim() || like.value || photo.files.length;

  function showLook(source, name) {
    if (preview.src.startsWith("blob:")) URL.revokeObjectURL(preview.src);
    look.hidden = !source;
    if (source) preview.src = source;
    else preview.removeAttribute("src");
    lookName.textContent = name;
    q.placeholder = source ? "But in blue …" : "Describe it …";
    showMix();
  }

  function showMix() {
    mix.hidden = look.hidden || !q.value.trim();
  }

  function take(file) {
    if (!file) return;
    if (file.size > Number(form.dataset.mostBytes)) {
      refuse(`The photo has ${(file.size / 2 ** 20).toFixed(1)} MB, at most ${form.dataset.mostBytes / 2 ** 20} MB can be sent.`);
      photo.value = "";
      return;
    }
    if (photo.files[0] !== file) {
      const files = new DataTransfer();
      files.items.add(file);
      photo.files = files.files;
    }
    like.value = "";
    showLook(URL.createObjectURL(file), file.name);
    search();
  }

  function removeLook() {
    if (look.hidden) return;
    photo.value = like.value = "";
    showLook("", "");
    q.focus();
    if (q.value.trim()) search();
  }

  function refuse(message) {
    results.replaceChildren(id("unreachable").content.cloneNode(true));
    if (message) results.querySelector("p").textContent = message;
  }

  function countFilters() {
    const set = controls.filter((one) => one.value !== "");
    for (const one of controls) one.closest(".filter").classList.toggle("set", one.value !== "");
    if (!filters) return;
    id("set").hidden = id("clear").hidden = !set.length;
    id("set").textContent = set.length;
  }

  function clearFilters() {
    for (const one of controls) one.value = "";
    countFilters();
    if (asked()) search();
  }

  photo.addEventListener("change", () => take(photo.files[0]));
  q.addEventListener("input", showMix);
  form.addEventListener("submit", showMix);
  id("weight").addEventListener("change", () => asked() && search());
  id("each")?.addEventListener("change", () => asked() && search());
  id("unlook").addEventListener("click", (event) => {
    event.preventDefault();
    removeLook();
  });

  if (filters) {
    filters.addEventListener("change", () => {
      countFilters();
      if (asked()) search();
    });
    id("clear").addEventListener("click", clearFilters);
    id("open-filters").addEventListener("click", (event) => {
      const open = filters.classList.toggle("open");
      event.currentTarget.setAttribute("aria-expanded", open);
    });
  }

  results.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if ("clear" in link.dataset) {
      event.preventDefault();
      clearFilters();
    } else if (link.dataset.like) {
      event.preventDefault();
      photo.value = q.value = id("negative").value = "";
      like.value = link.dataset.like;
      showLook(link.querySelector("img").src, link.closest(".card").querySelector(".text").textContent);
      search();
      scrollTo({ top: 0 });
    }
  });

  // Photos from elsewhere
  const carriesFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  let inside = 0; // dragenter and dragleave come for every element passed
  addEventListener("dragenter", (event) => {
    if (!carriesFile(event)) return;
    inside += 1;
    drop.hidden = false;
  });
  addEventListener("dragleave", (event) => {
    if (!carriesFile(event)) return;
    inside -= 1;
    drop.hidden = inside <= 0;
  });
  addEventListener("dragover", (event) => carriesFile(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!carriesFile(event)) return;
    event.preventDefault();
    inside = 0;
    drop.hidden = true;
    take(event.dataTransfer.files[0]);
  });
  addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
    if (file) take(file);
  });

  // Keyboard
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.closest("input:not([type=range]), select, textarea");
    if (event.key === "/" && !typing) {
      event.preventDefault();
      q.focus();
      q.select();
    } else if (event.key === "Escape") {
      removeLook();
    } else if (event.key.startsWith("Arrow")) {
      step(event);
    }
  });

  function step(event) {
    const cards = [...results.querySelectorAll(".photo")];
    const at = cards.indexOf(event.target);
    if (at < 0) return;
    const top = (card) => card.getBoundingClientRect().top;
    const row = cards.filter((card) => Math.abs(top(card) - top(cards[0])) < 2).length;
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -row, ArrowDown: row }[event.key];
    if (!cards[at + by]) return;
    event.preventDefault();
    cards[at + by].focus();
  }

  // Waiting, and no answer
  form.addEventListener("htmx:before:request", () => results.setAttribute("aria-busy", "true"));
  form.addEventListener("htmx:finally:request", () => results.removeAttribute("aria-busy"));
  form.addEventListener("htmx:error", () => refuse());
});
