/* A stub of libnvidia-ml.so.1 with the calls that orchestrator/host/gpu.py makes.
 *
 * The file named by LEVELBENCH_NVML_STUB is read again at every call, so that a test can change its mind
 * between two readings. Its lines are `<key> <gpu or *> <number>`. The key is a value's name ("power_mw")
 * or a function's name, then the number is the nvmlReturn_t with which that function fails. With no such
 * file there is no driver. "lost" makes every call about a GPU fail with "GPU is lost".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUCCESS 0
#define INSUFFICIENT_SIZE 7
#define DRIVER_NOT_LOADED 9
#define GPU_IS_LOST 15
#define FAIL_IF_SCRIPTED(gpu)                              \
    do {                                                   \
        int code = failure(__func__, gpu);                 \
        if (code != SUCCESS) return code;                  \
    } while (0)

typedef struct { unsigned int gpu, memory; } Utilization;
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned int pid; unsigned long long used; unsigned int gi, ci; } Process;
typedef struct { unsigned int version, sensor; int temperature; } TemperatureV1;

static long long scripted(const char *key, int gpu, long long otherwise) {
    const char *path = getenv("LEVELBENCH_NVML_STUB");
    FILE *file = path ? fopen(path, "r") : NULL;
    char name[128], where[16];
    long long number;
    if (!file) return otherwise;
    while (fscanf(file, "%127s %15s %lld", name, where, &number) == 3)
        if (!strcmp(name, key) && (where[0] == '*' || atoi(where) == gpu)) otherwise = number;
    fclose(file);
    return otherwise;
}

static int failure(const char *function, int gpu) {
    if (gpu >= 0 && scripted("lost", gpu, 0)) return GPU_IS_LOST;
    return (int)scripted(function, gpu, SUCCESS);
}

static int index_of(void *handle) { return (int)(long)handle - 1; }

int nvmlInitWithFlags(unsigned int flags) {
    const char *path = getenv("LEVELBENCH_NVML_STUB");
    (void)flags;
    if (!path || !*path) return DRIVER_NOT_LOADED;
    FAIL_IF_SCRIPTED(-1);
    return SUCCESS;
}

int nvmlShutdown(void) { FAIL_IF_SCRIPTED(-1); return SUCCESS; }

const char *nvmlErrorString(int code) { (void)code; return "stub error"; }

int nvmlSystemGetDriverVersion(char *text, unsigned int length) {
    FAIL_IF_SCRIPTED(-1);
    snprintf(text, length, "535.104.05");
    return SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned int *count) {
    FAIL_IF_SCRIPTED(-1);
    *count = (unsigned int)scripted("gpus", -1, 1);
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **handle) {
    FAIL_IF_SCRIPTED((int)index);
    *handle = (void *)(long)(index + 1);
    return SUCCESS;
}

int nvmlDeviceGetUUID(void *handle, char *text, unsigned int length) {
    FAIL_IF_SCRIPTED(index_of(handle));
    snprintf(text, length, "GPU-stub-%d", index_of(handle));
    return SUCCESS;
}

int nvmlDeviceGetName(void *handle, char *text, unsigned int length) {
    FAIL_IF_SCRIPTED(index_of(handle));
    snprintf(text, length, "Stub A100");
    return SUCCESS;
}

int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor) {
    FAIL_IF_SCRIPTED(index_of(handle));
    *major = 8;
    *minor = 0;
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo(void *handle, Memory *memory) {
    FAIL_IF_SCRIPTED(index_of(handle));
    memory->total = 85899345920ULL;
    memory->used = (unsigned long long)scripted("memory_used", index_of(handle), 1073741824);
    memory->free = memory->total - memory->used;
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(void *handle, Utilization *rates) {
    FAIL_IF_SCRIPTED(index_of(handle));
    rates->gpu = (unsigned int)scripted("utilisation", index_of(handle), 97);
    rates->memory = 41;
    return SUCCESS;
}

int nvmlDeviceGetPowerUsage(void *handle, unsigned int *milliwatts) {
    FAIL_IF_SCRIPTED(index_of(handle));
    *milliwatts = (unsigned int)scripted("power_mw", index_of(handle), 250500);
    return SUCCESS;
}

int nvmlDeviceGetEnforcedPowerLimit(void *handle, unsigned int *milliwatts) {
    FAIL_IF_SCRIPTED(index_of(handle));
    *milliwatts = 400000;
    return SUCCESS;
}

int nvmlDeviceGetTemperature(void *handle, unsigned int sensor, unsigned int *celsius) {
    (void)sensor;
    FAIL_IF_SCRIPTED(index_of(handle));
    *celsius = 54;
    return SUCCESS;
}

int nvmlDeviceGetTemperatureV(void *handle, TemperatureV1 *reading) {
    FAIL_IF_SCRIPTED(index_of(handle));
    reading->temperature = 55;
    return SUCCESS;
}

int nvmlDeviceGetClockInfo(void *handle, unsigned int kind, unsigned int *mhz) {
    FAIL_IF_SCRIPTED(index_of(handle));
    *mhz = kind == 1 ? 1410 : 1593;
    return SUCCESS;
}

int nvmlDeviceGetCurrentClocksEventReasons(void *handle, unsigned long long *mask) {
    FAIL_IF_SCRIPTED(index_of(handle));
    *mask = (unsigned long long)scripted("throttle", index_of(handle), 0);
    return SUCCESS;
}

int nvmlDeviceGetCurrentClocksThrottleReasons(void *handle, unsigned long long *mask) {
    FAIL_IF_SCRIPTED(index_of(handle));
    *mask = (unsigned long long)scripted("throttle_by_old_name", index_of(handle), 0);
    return SUCCESS;
}

int nvmlDeviceGetTotalEccErrors(void *handle, int kind, int counter, unsigned long long *count) {
    (void)counter;
    FAIL_IF_SCRIPTED(index_of(handle));
    *count = kind == 0 ? 3 : 0;
    return SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned int *count, Process *processes) {
    unsigned int room = *count, i;
    FAIL_IF_SCRIPTED(index_of(handle));
    *count = (unsigned int)scripted("processes", index_of(handle), 0);
    if (room < *count) return INSUFFICIENT_SIZE;
    for (i = 0; i < *count; i++) {
        processes[i].pid = 4000 + i;
        processes[i].used = i == 0 ? 536870912ULL : ~0ULL;
    }
    return SUCCESS;
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(void *handle, unsigned int *count, Process *processes) {
    (void)processes;
    FAIL_IF_SCRIPTED(index_of(handle));
    *count = 0;
    return SUCCESS;
}
