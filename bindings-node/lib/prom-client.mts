export * from "./prom-client.js";
export { default } from "./prom-client.js";
