// What the page holds: one object that its modules share.

export const state = {
  trains: false, // whether this server trains models (`fusecast ui`)
  model: null, // the answer of /v1/model
  file: null, // the table
  plan: null, // the table of known values, null for none
  inspection: null, // what the server understood of the table
  columns: {}, // columns of the table that the model has under other names
  ids: [], // the id columns of the model
  forecasts: new Map(), // rows of the forecasts by id of the series
  rows: new Map(), // the newest rows of the table by id of the series
  plans: new Map(), // the known values of the steps to forecast by id of the series
  series: "", // the id of the shown series
  changed: null, // the forecasts of the shown series after a what-if, and its `values` by column
  onSeries: () => {}, // called when another series is shown
};
