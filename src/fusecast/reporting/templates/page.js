(() => {
  "use strict";
  const read = (id) => document.getElementById(id).textContent;
  const lightText = read("figures");
  const dark = JSON.parse(read("dark"));
  const darkText = Object.entries(dark).reduce((text, [from, to]) => text.split(from).join(to), lightText);
  const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
  const touch = window.matchMedia("(pointer: coarse)").matches;
  const config = { responsive: true, displayModeBar: false, displaylogo: false, doubleClick: "reset", plotlyServerURL: "" };
  const picker = document.getElementById("series");
  let data = null;

  const draw = (id, figure) => {
    // Dragging over a chart on a touch screen must scroll the page.
    if (touch) figure.layout.dragmode = false;
    const axis = figure.layout.xaxis;
    if (window.innerWidth < 560 && axis?.tickvals?.length > 5) {
      // Half of the ticks fit on a phone; the last one, the cutoff, stays.
      const stays = (_, i) => (axis.tickvals.length - 1 - i) % 2 === 0;
      [axis.ticktext, axis.tickvals] = [axis.ticktext.filter(stays), axis.tickvals.filter(stays)];
    }
    return Plotly.react(id, figure.data, figure.layout, config);
  };
  const drawForecast = () => {
    if (data.forecasts.length) draw("forecast", data.forecasts[picker ? picker.selectedIndex : 0]);
  };
  const drawAll = () => {
    data = JSON.parse(prefersDark.matches ? darkText : lightText);
    for (const [id, figure] of Object.entries(data.figures)) draw(id, figure);
    drawForecast();
  };
  const step = (by) => () => {
    picker.selectedIndex = (picker.selectedIndex + by + picker.options.length) % picker.options.length;
    drawForecast();
  };

  if (picker) {
    picker.addEventListener("change", drawForecast);
    document.getElementById("previous").addEventListener("click", step(-1));
    document.getElementById("next").addEventListener("click", step(1));
  }
  prefersDark.addEventListener("change", drawAll);
  drawAll();
  document.documentElement.dataset.drawn = "yes";
})();
