// LoadRequestWriter and LoadPreparer: the bytes of requests, made before their time.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "bench/load_generator.h"
#include "bench/workload.h"

namespace quire {

// Owns what all requests of a run have in common.
class LoadRequestWriter {
 public:
  // A kConfig error where extra_body is not an object or asks for something other than a stream.
  static Result<LoadRequestWriter> Make(const LoadTarget& target);

  // Turn `turn` of a conversation behind the turns and answers before it. A prompt of token ids
  // goes behind the ids of the earlier turns alone: what the answers' ids were is not known.
  std::string Write(const BenchConversation& conversation, int turn,
                    const std::vector<std::string>& answers) const;

 private:
  void AppendPrompt(std::string& body, const BenchConversation& conversation, int turn,
                    const std::vector<std::string>& answers) const;
  void AppendMessages(std::string& body, const BenchConversation& conversation, int turn,
                      const std::vector<std::string>& answers) const;
  bool IsExtra(const std::string& name) const;

  LoadTarget target_;
  std::vector<std::string> extra_names_;  // the fields that extra_body sets, ours or not
  std::string tail_;                      // of every body: all behind prompt and length
};

// Owns the requests of first turns that were made ahead and not sent yet; any thread may take.
class LoadPreparer {
 public:
  LoadPreparer(const LoadRequestWriter& writer, const BenchWorkload& workload,
               std::vector<int> order);

  // Makes more, in the order of sending, up to a bounded number of bytes. False: all are made.
  bool Fill();
  std::string Take(int conversation);  // made now where it was not yet

 private:
  enum State : unsigned char { kNone, kMaking, kMade, kTaken };
  struct Entry {
    std::atomic<unsigned char> state{kNone};
    std::string bytes;
  };

  const LoadRequestWriter& writer_;
  const BenchWorkload& workload_;
  std::vector<int> order_;
  std::size_t next_ = 0;  // in order_; only Fill's
  std::unique_ptr<Entry[]> entries_;
  std::atomic<std::size_t> num_bytes_{0};
};

}  // namespace quire
