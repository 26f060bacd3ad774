// Copy buttons, and how long ago things were. Without JavaScript the pages say the same in plain text.
const copyButton = (source) => {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  const label = source.closest("figure")?.querySelector("figcaption")?.textContent
    ?? source.closest("div")?.querySelector("dt")?.textContent;
  if (label) button.setAttribute("aria-label", `Copy: ${label}`);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(source);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  return button;
};

for (const pre of document.querySelectorAll("figure.command pre")) pre.before(copyButton(pre));
for (const code of document.querySelectorAll("dd code")) code.after(copyButton(code));

const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60]];
const distance = (seconds) => {
  const [unit, length] = UNITS.find(([, length]) => Math.abs(seconds) >= length) ?? ["minute", 60];
  return new Intl.RelativeTimeFormat("en", { numeric: "auto" }).format(Math.trunc(seconds / length), unit);
};

for (const time of document.querySelectorAll("time[data-age]")) {
  const age = document.createElement("span");
  age.className = "age";
  age.textContent = ` (${distance((Date.parse(time.dateTime) - Date.now()) / 1000)})`;
  time.after(age);
}

for (const due of document.querySelectorAll("[data-late-after]")) {
  const late = Date.now() > Date.parse(due.dataset.lateAfter);
  const badge = document.createElement("span");
  badge.className = late ? "state late" : "state fresh";
  badge.textContent = late ? "late" : "on schedule";
  due.prepend(badge, " ");
}
