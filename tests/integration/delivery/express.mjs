// A bare Express endpoint: express.json() with its defaults, and nothing else. Prints its port, then what it parsed.
import { createRequire } from "node:module";
const require = createRequire(process.argv[2] + "/");
const express = require("express");
const app = express();
app.use(express.json());
app.post("/hook", (request, response) => {
  console.log(JSON.stringify(request.body));
  response.json({ id: request.body.id });
});
const server = app.listen(0, "127.0.0.1", () => console.log(server.address().port));
