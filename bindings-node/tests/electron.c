// Electron's rule about memory, for the Node that the tests run in: V8 with its sandbox takes no memory that it did not allocate
// itself, so Node-API refuses to wrap any (napi_no_external_buffers_allowed; "Node-API" and "Buffers" in Node's manual).
// Preloaded, this stands before dlsym, which is how an addon asks for these functions, and hands out ones that refuse. Loaded as an
// addon, it exports what becomes of such a call, so that a test can see that the rule is in force.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { napi_ok = 0, napi_no_external_buffers_allowed = 22 };
typedef void *napi_env, *napi_value;

#ifdef __aarch64__
#define FIRST_GLIBC "GLIBC_2.17"
#else
#define FIRST_GLIBC "GLIBC_2.2.5"
#endif

static int refuse_buffer(napi_env env, size_t size, void *data, void *finalize, void *hint, napi_value *result) {
  (void)env, (void)size, (void)data, (void)finalize, (void)hint, (void)result;
  fputs("refused: external buffer\n", stderr);
  return napi_no_external_buffers_allowed;
}

static int refuse_arraybuffer(napi_env env, void *data, size_t size, void *finalize, void *hint, napi_value *result) {
  (void)env, (void)data, (void)size, (void)finalize, (void)hint, (void)result;
  fputs("refused: external array buffer\n", stderr);
  return napi_no_external_buffers_allowed;
}

void *dlsym(void *handle, const char *name) {
  static void *(*real)(void *, const char *);
  if (!real) real = (void *(*)(void *, const char *))dlvsym(RTLD_NEXT, "dlsym", FIRST_GLIBC);
  if (strcmp(name, "napi_create_external_buffer") == 0) return (void *)refuse_buffer;
  if (strcmp(name, "napi_create_external_arraybuffer") == 0) return (void *)refuse_arraybuffer;
  return real(handle, name);
}

napi_value napi_register_module_v1(napi_env env, napi_value exports) {
  static char bytes[8];
  int (*wrap)(napi_env, size_t, void *, void *, void *, napi_value *) = dlsym(RTLD_DEFAULT, "napi_create_external_buffer");
  int (*number)(napi_env, int, napi_value *) = dlsym(RTLD_DEFAULT, "napi_create_int32");
  int (*set)(napi_env, napi_value, const char *, napi_value) = dlsym(RTLD_DEFAULT, "napi_set_named_property");
  napi_value buffer = NULL, status = NULL;
  if (number(env, wrap(env, sizeof bytes, bytes, NULL, NULL, &buffer), &status) == napi_ok) set(env, exports, "status", status);
  return exports;
}
