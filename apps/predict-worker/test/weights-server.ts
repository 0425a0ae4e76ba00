/** A host of weights: https on a port of its own, with a certificate of its own that a process may be told to trust. */
import { execFile } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";

export interface WeightsServer extends AsyncDisposable {
  /** `localhost:<port>` */
  host: string;
  /** Path of the certificate, for NODE_EXTRA_CA_CERTS. */
  certificate: string;
  /** Paths that were asked for. */
  asked: string[];
}

/** `answers` by path; another one is 404. `folder` takes the key and the certificate. */
export async function startWeightsServer(
  folder: string,
  answers: Record<string, (response: ServerResponse, request: IncomingMessage) => void>,
): Promise<WeightsServer> {
  const [key, certificate] = [join(folder, "key.pem"), join(folder, "certificate.pem")];
  await promisify(execFile)("openssl", [
    ..."req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost".split(" "),
    ...["-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate],
  ]);
  const asked: string[] = [];
  const server = createServer({ key: readFileSync(key), cert: readFileSync(certificate) }, (request, response) => {
    asked.push(request.url!);
    const answer = answers[request.url!];
    if (answer) answer(response, request);
    else response.writeHead(404).end();
  });
  await once(server.listen(0, "localhost"), "listening");
  return {
    host: `localhost:${(server.address() as AddressInfo).port}`,
    certificate,
    asked,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await once(server.close(), "close");
    },
  };
}
