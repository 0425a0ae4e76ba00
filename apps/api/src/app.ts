/** The Express app: building it is apart from listening. */
import express, { type Express, Router } from "express";
import helmet from "helmet";
import { type Options, pinoHttp } from "pino-http";
import { auditChanges } from "./audit.ts";
import { requireKey } from "./auth.ts";
import type { ApiContext } from "./context.ts";
import { countRequests } from "./http-metrics.ts";
import { answerProblems, notFound } from "./problem-answers.ts";
import { aliasRoutes } from "./routes/aliases.ts";
import { datasetRoutes } from "./routes/datasets.ts";
import { importRoutes } from "./routes/imports.ts";
import { jobRoutes } from "./routes/jobs.ts";
import { keyRoutes } from "./routes/keys.ts";
import { modelRoutes } from "./routes/models.ts";
import { operationRoutes } from "./routes/operations.ts";
import { predictRoutes } from "./routes/predict.ts";
import { resultRoutes } from "./routes/results.ts";
import { retryRoutes } from "./routes/retry.ts";
import { trainRoutes } from "./routes/train.ts";
import { watchingRoutes } from "./routes/watching.ts";

/** JSON bodies are requests, not data: the largest, a list of 10,000 image digests, has 700 kB. */
const JSON_LIMIT = "1mb";

export function createApp(context: ApiContext, logger: Options["logger"]): Express {
  const app = express();
  app.disable("x-powered-by");
  app.set("query parser", "simple");
  app.use(helmet());
  app.use(
    pinoHttp({
      logger,
      autoLogging: { ignore: (request) => ["/healthz", "/readyz", "/metrics"].includes(request.url ?? "") },
      serializers: { req: ({ method, url, id }) => ({ method, url, id }), res: ({ statusCode }) => ({ statusCode }) },
    }),
  );
  app.use(countRequests(context.metrics));
  app.use(operationRoutes(context));

  const v1 = Router();
  v1.use(requireKey(context));
  v1.use(auditChanges);
  v1.use(express.json({ limit: JSON_LIMIT }));
  v1.use("/datasets", datasetRoutes(context));
  v1.use("/train", trainRoutes(context));
  v1.use("/predict", predictRoutes(context));
  v1.use("/jobs", jobRoutes(context));
  v1.use("/jobs", watchingRoutes(context));
  v1.use("/jobs", resultRoutes(context));
  v1.use("/jobs", retryRoutes(context));
  v1.use("/models/import", importRoutes(context));
  v1.use("/models", modelRoutes(context));
  v1.use("/aliases", aliasRoutes(context));
  v1.use("/keys", keyRoutes(context));
  v1.get("/workers", async (_request, response) => {
    response.json({ workers: await context.queue.workers() });
  });
  app.use("/v1", v1);

  app.use(notFound);
  app.use(answerProblems);
  return app;
}
