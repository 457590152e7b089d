import { controllerSteps } from './controller.ts';
import { expandSteps } from './expand.ts';
import { lifecycleSteps } from './lifecycle.ts';
import { publishSteps } from './publish.ts';
import { stageSteps } from './stage.ts';
import { startSteps } from './start.ts';
import type { Step } from './step.ts';

export const steps: readonly Step[] = [
  ...startSteps,
  ...controllerSteps,
  ...stageSteps,
  ...publishSteps,
  ...expandSteps,
  ...lifecycleSteps,
];
