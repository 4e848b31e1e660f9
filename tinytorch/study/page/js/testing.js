// For tests: how far what is computed here is from what the engine recorded, for each trace of the page's data.

import { decoded } from "./data.js";
import { deviation, evaluate } from "./evaluator.js";

window.answers = decoded(JSON.parse(document.getElementById("data").textContent)).variants.map(
  ({ trace }) => deviation(trace, evaluate(trace)));
