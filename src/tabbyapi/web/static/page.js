// What only the browser can do: copying, following the answer, taking files, remembering the theme.
"use strict";
(() => {
  async function copyText(text) {
    if (navigator.clipboard && window.isSecureContext) {
      await navigator.clipboard.writeText(text);
      return;
    }
    const area = document.createElement("textarea"); // pages over plain HTTP have no clipboard API
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  window.tabbyCopy = copyText;

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button.copy");
    if (!button) return;
    await copyText(button.parentElement.querySelector("pre").innerText);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });

  // Follow the end of the log until the reader scrolls up.
  let following = true;
  const atEnd = () => window.innerHeight + window.scrollY >= document.documentElement.scrollHeight - 80;
  const toEnd = () => window.scrollTo(0, document.documentElement.scrollHeight);
  window.addEventListener("scroll", () => (following = atEnd()), { passive: true });
  window.tabbyFollow = () => {
    following = true;
    toEnd();
  };
  const observer = new MutationObserver(() => following && toEnd());
  const watch = () => {
    const log = document.querySelector(".log");
    if (!log) return void setTimeout(watch, 50);
    observer.observe(log, { childList: true, subtree: true, characterData: true });
    toEnd();
    // Quasar gives the drawers' landmarks no names.
    document.querySelector(".q-drawer--left")?.setAttribute("aria-label", "Chats");
    document.querySelector(".q-drawer--right")?.setAttribute("aria-label", "Parameters");
  };
  document.addEventListener("DOMContentLoaded", watch);

  // Files that are pasted or dropped go through the page's uploader.
  function take(files) {
    const uploader = document.querySelector(".uploader");
    if (!uploader || !files.length) return false;
    getElement(Number(uploader.id.slice(1))).$refs.qRef.addFiles(files);
    return true;
  }
  document.addEventListener("paste", (event) => {
    if (take([...(event.clipboardData?.files ?? [])])) event.preventDefault();
  });
  const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    document.body.classList.remove("dropping");
    if (!hasFiles(event)) return;
    event.preventDefault();
    take([...event.dataTransfer.files]);
  });

  // "Back" shows the chat of the address.
  window.addEventListener("popstate", () => location.reload());
})();
