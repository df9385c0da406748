#include "weights/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace quire {
namespace {

// Owns a file descriptor.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

struct OpenFile {
  Descriptor descriptor;
  std::size_t size = 0;
};

std::string Reason(int error) {
  switch (error) {
    case ELOOP:
      return "its symbolic links form a loop";
    case ENOENT:
      return "there is no such file";
    case EACCES:
      return "no permission to read it";
    default:
      return std::generic_category().message(error);
  }
}

Error Fault(const std::filesystem::path& path, const std::string& what) {
  return ModelFault(path.filename().string() + ": " + what + " (in " + path.parent_path().string() +
                    ")");
}

Result<OpenFile> OpenRegular(const std::filesystem::path& path) {
  // O_NONBLOCK: opening a FIFO must not wait for its writer.
  Descriptor descriptor(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (descriptor.get() < 0) return Fault(path, Reason(errno));
  struct stat facts {};
  if (fstat(descriptor.get(), &facts) != 0) return Fault(path, Reason(errno));
  if (!S_ISREG(facts.st_mode)) return Fault(path, "it is not a regular file");
  return OpenFile{std::move(descriptor), static_cast<std::size_t>(facts.st_size)};
}

}  // namespace

Result<MappedFile> MappedFile::Open(const std::filesystem::path& path) {
  auto file = OpenRegular(path);
  if (!file) return file.error();
  MappedFile mapped;
  if (file->size == 0) return mapped;
  void* data = mmap(nullptr, file->size, PROT_READ, MAP_PRIVATE, file->descriptor.get(), 0);
  if (data == MAP_FAILED) return Fault(path, "cannot be mapped: " + Reason(errno));
  mapped.data_ = data;
  mapped.size_ = file->size;
  return mapped;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(data_, size_);
}

Result<std::string> ReadSmallFile(const std::filesystem::path& path, std::size_t limit) {
  auto file = OpenRegular(path);
  if (!file) return file.error();
  if (file->size > limit)
    return Fault(path, "it is larger than " + std::to_string(limit >> 20) + " MiB");
  std::string text(file->size, '\0');
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t got = read(file->descriptor.get(), text.data() + done, text.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Fault(path, Reason(errno));
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  text.resize(done);
  return text;
}

bool EntryExists(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(std::filesystem::symlink_status(path, error));
}

}  // namespace quire
