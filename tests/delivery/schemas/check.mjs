// Reads objects of Kubernetes as a list of JSON, and writes a list of what is wrong with each.
//
// The models' validators know types and ranges but let unknown fields pass; a typed literal of
// TypeScript may have no unknown field, but has no ranges. So each object has to please both.

import fs from "node:fs";
import path from "node:path";
import ts from "typescript";

const PACKAGES = {
  "argoproj.io": "argo-rollouts",
  "gateway.networking.k8s.io": "gateway-api",
  "keda.sh": "keda",
  "monitoring.coreos.com": "prometheus-operator",
};
const OPTIONS = {
  strict: true,
  noEmit: true,
  skipLibCheck: true,
  module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Bundler,
  target: ts.ScriptTarget.ES2022,
  types: [],
};

function moduleOf({ apiVersion, kind }) {
  const [group, version] = apiVersion.split("/");
  if (!(group in PACKAGES)) throw new Error(`no schema is known for ${apiVersion} ${kind}`);
  return `@kubernetes-models/${PACKAGES[group]}/${group}/${version}/${kind}`;
}

async function invalid(object) {
  const model = (await import(moduleOf(object)))[object.kind];
  try {
    new model(object).validate();
    return [];
  } catch (error) {
    return [error.message];
  }
}

function untyped(objects) {
  const name = path.resolve("objects.ts");
  const starts = [];
  let text = "";
  objects.forEach((object, index) => {
    starts.push(text.length);
    text += `import type {I${object.kind} as T${index}} from ${JSON.stringify(moduleOf(object))};\n`;
    text += `export const o${index}: T${index} = ${JSON.stringify(object, null, 1)};\n`;
  });
  const host = ts.createCompilerHost(OPTIONS);
  const { fileExists, getSourceFile } = host;
  host.fileExists = (file) => file === name || fileExists(file);
  host.getSourceFile = (file, version) =>
    file === name ? ts.createSourceFile(file, text, version, true) : getSourceFile(file, version);
  const program = ts.createProgram([name], OPTIONS, host);
  const problems = objects.map(() => []);
  for (const each of program.getSemanticDiagnostics(program.getSourceFile(name))) {
    const index = starts.findLastIndex((start) => start <= each.start);
    problems[index].push(ts.flattenDiagnosticMessageText(each.messageText, " "));
  }
  return problems;
}

const objects = JSON.parse(fs.readFileSync(0, "utf8"));
const types = untyped(objects);
const found = await Promise.all(objects.map(async (object, i) => [...(await invalid(object)), ...types[i]]));
process.stdout.write(JSON.stringify(found));
