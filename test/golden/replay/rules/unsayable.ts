/** What kubelet passed on and CSI cannot say, or flexcsi does not take from CSI: replayed below csi/. */
import { status } from '@grpc/grpc-js';
import { detailsOf, volumeOf } from '../calls.ts';
import type { Check } from '../expectation.ts';
import type { GoldenRecord } from '../records.ts';
import type { Session } from '../session.ts';
import { hasBinarySecret, hasReservedKey, hasUnsayableOptions } from '../steps/step.ts';
import { type Rule, targetOf } from './rule.ts';

/** The same over CSI is INVALID_ARGUMENT, and the driver is not called. */
function refusedOverCsi(session: Session, record: GoldenRecord): Check {
  return async () => {
    const { length } = session.driver.calls();
    const volume = volumeOf(record);
    const call =
      record.step === 'SetUp'
        ? session.csi.publish(volume, {
            ...detailsOf(record),
            target: targetOf(record, session),
            staging:
              session.setting.attaches && !volume.inline ? session.stagingPath(volume.name) : undefined,
            device: '',
          })
        : session.csi.attach(volume, session.setting.node);
    const code = await call.then(
      () => status.OK,
      (error: { code?: status }) => error.code ?? status.UNKNOWN,
    );
    if (code !== status.INVALID_ARGUMENT) return `INVALID_ARGUMENT over CSI expected, was ${status[code]}`;
    return session.driver.calls().length === length
      ? undefined
      : 'refused over CSI, but the driver was called';
  };
}

const reservedKeys: Rule = {
  name: 'option keys of Kubernetes are refused over CSI',
  why: "whoever may create a pod could forge secrets and another pod's identity; the encoder itself is kubelet's",
  applies: hasReservedKey,
  instead: (expected, record, session) => ({
    ...expected,
    checks: [...expected.checks, refusedOverCsi(session, record)],
  }),
};

const secretBytes: Rule = {
  name: 'secrets are UTF-8 over CSI',
  why: "CSI's secrets are strings; the encoder itself takes bytes",
  applies: hasBinarySecret,
  instead: (expected, record, session) => ({
    ...expected,
    checks: [...expected.checks, refusedOverCsi(session, record)],
  }),
};

const optionBytes: Rule = {
  name: 'options are UTF-8 over CSI',
  why: 'protobuf has no other strings; the encoder itself takes bytes',
  applies: hasUnsayableOptions,
  instead: (expected) => expected,
};

export const unsayableRules: readonly Rule[] = [reservedKeys, secretBytes, optionBytes];
