// Requests to the studio. A message is a line of JSON, and then bytes.

async function refuse(answer) {
  if (answer.status === 413) throw new Error("The file is larger than 64 MB: make it smaller.");
  let said = `${answer.status} ${answer.statusText}`;
  try {
    said = (await answer.clone().json()).error ?? said;
  } catch {
    said = (await answer.text()) || said;
  }
  throw new Error(said);
}

async function request(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The studio does not answer. Is its command still running?");
  }
  return answer.ok ? answer : refuse(answer);
}

function post(path, header, ...parts) {
  const body = new Blob([JSON.stringify(header), "\n", ...parts]);
  const headers = { "Content-Type": "application/octet-stream" };
  return request(`/api/${path}`, { method: "POST", headers, body });
}

// Splits an answer into its JSON and its bytes.
async function message(answer) {
  const bytes = new Uint8Array(await answer.arrayBuffer());
  const end = bytes.indexOf(10);
  return [JSON.parse(new TextDecoder().decode(bytes.subarray(0, end))), bytes.subarray(end + 1)];
}

export const pictureAt = (name) => `/api/pictures/${name}.png`;

export async function about() {
  return (await request("/api/about")).json();
}

export async function labelsOf(name) {
  return new Uint8Array(await (await request(`/api/pictures/${name}.labels`)).arrayBuffer());
}

export async function upload(photo, labels) {
  const header = { name: photo.name, photo: photo.size };
  return (await post("upload", header, photo, ...(labels ? [labels] : []))).json();
}

const withMap = (painted) => (painted ? [painted] : []);

export async function generate(asked, painted) {
  const [told, bytes] = await message(await post("generate", asked, ...withMap(painted)));
  return [told, await createImageBitmap(new Blob([bytes], { type: "image/png" }))];
}

export async function truth(asked) {
  return createImageBitmap(await (await post("truth", asked)).blob());
}

export async function loop(asked, painted) {
  return (await post("loop", asked, ...withMap(painted))).blob();
}

export async function attention(asked, painted) {
  return message(await post("attention", asked, ...withMap(painted)));
}

export async function save(asked, painted) {
  return (await post("save", asked, ...withMap(painted))).json();
}

export async function load(file) {
  return (await request("/api/load", { method: "POST", body: file })).json();
}
