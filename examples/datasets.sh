#!/usr/bin/env bash
# The five commands of docs/examples.md: fit and evaluate, two minutes of training each.
# DATA is the folder of the data sets, RUNS the folder of the runs; arguments are the sets to run, by default all.
set -euo pipefail
DATA=${DATA:-${FUSECAST_DATA:-data}}
RUNS=${RUNS:-runs}
FUSECAST=${FUSECAST:-.venv/bin/fusecast}
BUDGET=(--max-minutes 2)

stallion() {
  "$FUSECAST" fit "$DATA/stallion.parquet" --out "$RUNS/stallion" --horizon 6 --lookback 24 \
    --static agency,sku,avg_population_2017,avg_yearly_household_income_2017 \
    --known price_regular,price_actual,discount,discount_in_percent,easter_day,good_friday,new_year,christmas,labor_day,independence_day,revolution_day_memorial,regional_games,fifa_u_17_world_cup,football_gold_cup,beer_capital,music_fest \
    --observed industry_volume,soda_volume,avg_max_temp --learning-rate 0.002 "${BUDGET[@]}"
}
m4_hourly() {
  "$FUSECAST" fit "$DATA/m4_hourly.parquet" --out "$RUNS/m4_hourly" --horizon 48 --lookback 168 --learning-rate 0.002 "${BUDGET[@]}"
}
vic_electricity() {
  "$FUSECAST" fit "$DATA/vic_electricity.parquet" --out "$RUNS/vic_electricity" --horizon 48 --lookback 336 \
    --known holiday --observed temperature --learning-rate 0.002 "${BUDGET[@]}"
}
etth1() {
  "$FUSECAST" fit "$DATA/etth1.parquet" --out "$RUNS/etth1" --horizon 24 --lookback 168 --learning-rate 0.003 "${BUDGET[@]}"
}
exchange_rate() {
  "$FUSECAST" fit "$DATA/exchange_rate.parquet" --out "$RUNS/exchange_rate" --horizon 30 --lookback 180 \
    --set features.window_scaling=last "${BUDGET[@]}"
}

mkdir -p "$RUNS"
for name in "${@:-stallion m4_hourly vic_electricity etth1 exchange_rate}"; do
  for set in $name; do
    "$set"
    "$FUSECAST" evaluate "$RUNS/$set"
  done
done
