/* A stub of libnvidia-ml.so.1 with the calls that orchestrator/host/gpu.py makes.
 *
 * The file named by LEVELBENCH_NVML_STUB is read again at every call, so that a test can change its mind
 * between two readings. Its lines are `<key> <gpu or *> <number>`. The key is a value's name ("power_mw")
 * or a function's name, then the number is the nvmlReturn_t with which that function fails. With no such
 * file there is no driver. "lost" makes every call about a GPU fail with "GPU is lost".
 *
 * Processes: "processes" is how many compute, "graphics" how many draw; their numbers begin at "first_pid"
 * (4000) and "first_graphics_pid" (5000), and the first of each holds "process_bytes".
 * Events: while "event_number" is N, an event set that has seen fewer than N gives one more, an Xid "xid".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUCCESS 0
#define INSUFFICIENT_SIZE 7
#define DRIVER_NOT_LOADED 9
#define TIMEOUT 10
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
typedef struct {
    char bus_id_legacy[16];
    unsigned int domain, bus, device, pci_device_id, pci_subsystem_id;
    char bus_id[32];
} Pci;

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
    *milliwatts = (unsigned int)scripted("power_limit_mw", index_of(handle), 400000);
    return SUCCESS;
}

int nvmlDeviceGetTemperature(void *handle, unsigned int sensor, unsigned int *celsius) {
    (void)sensor;
    FAIL_IF_SCRIPTED(index_of(handle));
    *celsius = (unsigned int)scripted("temperature", index_of(handle), 54);
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
    int gpu = index_of(handle);
    FAIL_IF_SCRIPTED(gpu);
    if (counter == 0)
        *count = (unsigned long long)(kind == 0 ? scripted("ecc_corrected", gpu, 3) : scripted("ecc_uncorrected", gpu, 0));
    else
        *count = (unsigned long long)(kind == 0 ? scripted("ecc_corrected_ever", gpu, 30) : scripted("ecc_uncorrected_ever", gpu, 1));
    return SUCCESS;
}

static int list(const char *many, const char *first, int start, int gpu, unsigned int *count, Process *processes) {
    unsigned int room = *count, i;
    *count = (unsigned int)scripted(many, gpu, 0);
    if (room < *count) return INSUFFICIENT_SIZE;
    for (i = 0; i < *count; i++) {
        processes[i].pid = (unsigned int)scripted(first, gpu, start) + i;
        processes[i].used = i == 0 ? (unsigned long long)scripted("process_bytes", gpu, 536870912) : ~0ULL;
    }
    return SUCCESS;
}

int nvmlDeviceGetRemappedRows(void *handle, unsigned int *corrected, unsigned int *uncorrected, unsigned int *pending, unsigned int *failed) {
    int gpu = index_of(handle);
    FAIL_IF_SCRIPTED(gpu);
    *corrected = 0;
    *uncorrected = (unsigned int)scripted("rows_remapped", gpu, 0);
    *pending = (unsigned int)scripted("rows_pending", gpu, 0);
    *failed = (unsigned int)scripted("rows_failed", gpu, 0);
    return SUCCESS;
}

int nvmlDeviceGetRetiredPagesPendingStatus(void *handle, unsigned int *pending) {
    FAIL_IF_SCRIPTED(index_of(handle));
    *pending = (unsigned int)scripted("pages_pending", index_of(handle), 0);
    return SUCCESS;
}

int nvmlDeviceGetMigMode(void *handle, unsigned int *current, unsigned int *pending) {
    FAIL_IF_SCRIPTED(index_of(handle));
    *current = *pending = (unsigned int)scripted("mig", index_of(handle), 0);
    return SUCCESS;
}

int nvmlDeviceGetEccMode(void *handle, unsigned int *current, unsigned int *pending) {
    FAIL_IF_SCRIPTED(index_of(handle));
    *current = *pending = 1;
    return SUCCESS;
}

int nvmlDeviceGetPersistenceMode(void *handle, unsigned int *mode) {
    FAIL_IF_SCRIPTED(index_of(handle));
    *mode = (unsigned int)scripted("persistence", index_of(handle), 1);
    return SUCCESS;
}

int nvmlDeviceGetPowerManagementDefaultLimit(void *handle, unsigned int *milliwatts) {
    FAIL_IF_SCRIPTED(index_of(handle));
    *milliwatts = 400000;
    return SUCCESS;
}

int nvmlDeviceGetMaxClockInfo(void *handle, unsigned int kind, unsigned int *mhz) {
    FAIL_IF_SCRIPTED(index_of(handle));
    *mhz = kind == 1 ? 1410 : 1593;
    return SUCCESS;
}

int nvmlDeviceGetApplicationsClock(void *handle, unsigned int kind, unsigned int *mhz) {
    (void)kind;
    FAIL_IF_SCRIPTED(index_of(handle));
    *mhz = (unsigned int)scripted("application_clock", index_of(handle), 1275);
    return SUCCESS;
}

int nvmlDeviceGetDefaultApplicationsClock(void *handle, unsigned int kind, unsigned int *mhz) {
    (void)kind;
    FAIL_IF_SCRIPTED(index_of(handle));
    *mhz = 1275;
    return SUCCESS;
}

int nvmlDeviceGetPciInfo_v3(void *handle, Pci *pci) {
    FAIL_IF_SCRIPTED(index_of(handle));
    memset(pci, 0, sizeof *pci);
    snprintf(pci->bus_id, sizeof pci->bus_id, "00000000:%02X:00.0", 0x3b + index_of(handle));
    return SUCCESS;
}

/* An event set holds the GPU it was registered for and how many events it has given. */
typedef struct { int gpu; long long given; } EventSet;
typedef struct { void *device; unsigned long long type, data; unsigned int gi, ci; } Event;

int nvmlDeviceGetSupportedEventTypes(void *handle, unsigned long long *types) {
    FAIL_IF_SCRIPTED(index_of(handle));
    *types = 0x1f;
    return SUCCESS;
}

int nvmlEventSetCreate(EventSet **set) {
    FAIL_IF_SCRIPTED(-1);
    *set = calloc(1, sizeof **set);
    return SUCCESS;
}

int nvmlDeviceRegisterEvents(void *handle, unsigned long long types, EventSet *set) {
    (void)types;
    FAIL_IF_SCRIPTED(index_of(handle));
    set->gpu = index_of(handle);
    set->given = scripted("event_number", set->gpu, 0);
    return SUCCESS;
}

int nvmlEventSetWait_v2(EventSet *set, Event *event, unsigned int timeout_ms) {
    (void)timeout_ms;
    FAIL_IF_SCRIPTED(set->gpu);
    if (set->given >= scripted("event_number", set->gpu, 0)) return TIMEOUT;
    set->given++;
    event->device = (void *)(long)(set->gpu + 1);
    event->type = 8;
    event->data = (unsigned long long)scripted("xid", set->gpu, 79);
    return SUCCESS;
}

int nvmlEventSetFree(EventSet *set) { free(set); return SUCCESS; }

int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned int *count, Process *processes) {
    FAIL_IF_SCRIPTED(index_of(handle));
    return list("processes", "first_pid", 4000, index_of(handle), count, processes);
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(void *handle, unsigned int *count, Process *processes) {
    FAIL_IF_SCRIPTED(index_of(handle));
    return list("graphics", "first_graphics_pid", 5000, index_of(handle), count, processes);
}
