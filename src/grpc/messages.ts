/** How messages look in JavaScript; `proto/generate.ts` makes the types with the same options. */
export const messageOptions = {
  keepCase: true,
  longs: String,
  enums: String,
  defaults: true,
  arrays: true,
  oneofs: true,
} as const;
