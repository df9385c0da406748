# The front door. CMake presets do the work; CUDA=1 builds with the CUDA back end.
PRESET ?= $(if $(CUDA),cuda,release)
BUILD := build/$(PRESET)
PREFIX ?= /usr/local
JOBS ?= $(shell nproc)
HOST ?= 127.0.0.1
PORT ?= 8000

.PHONY: build serve test lint format bench install bundle clean help deps

build: $(BUILD)/build.ninja  ## build the program: build/release/quire
	cmake --build $(BUILD) --target quire -j $(JOBS)

serve: build  ## serve the built-in model (MODEL=… another) at http://127.0.0.1:8000
	$(BUILD)/quire serve $(MODEL) --host $(HOST) --port $(PORT)

test:  ## build and run every test
	@scripts/install-deps --test $(if $(CUDA),--cuda)
	cmake --preset $(PRESET)
	cmake --build $(BUILD) -j $(JOBS)
	if [ -f ../shared/data.sh ]; then export DATA="$$(bash ../shared/data.sh)"; fi; \
	ctest --test-dir $(BUILD) --output-on-failure -j $(JOBS)

lint: $(BUILD)/build.ninja  ## layers, lengths, format, clang-tidy
	scripts/lint --build $(BUILD)

format:  ## clang-format the sources in place
	scripts/lint --format

bench: deps  ## micro-benchmarks of the CPU back end
	cmake --preset $(PRESET) -DQUIRE_BENCHMARKS=ON
	cmake --build $(BUILD) --target backend_cpu_bench -j $(JOBS)
	$(BUILD)/backend_cpu_bench

install: build  ## install to PREFIX (and DESTDIR); the result can be moved
	cmake --install $(BUILD) --prefix "$(DESTDIR)$(PREFIX)" --strip

bundle: build  ## dist/quire-….tar.xz: runs on a bare glibc machine
	scripts/bundle $(BUILD)

clean:  ## remove what was built
	rm -rf build dist

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

deps:
	@scripts/install-deps $(if $(CUDA),--cuda)

$(BUILD)/build.ninja: CMakeLists.txt CMakePresets.json cmake/dependencies.cmake | deps
	cmake --preset $(PRESET)
