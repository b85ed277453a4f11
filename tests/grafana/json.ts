// What a type of Grafana's schema looks like in JSON: a member of an enum of words is its word.
export type Json<T> = T extends string ? `${T}` : T extends object ? { [K in keyof T]: Json<T[K]> } : T;
