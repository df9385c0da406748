#include "bench/progress_bar.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

ProgressView SomeView() {
  ProgressView view;
  view.name = "run";
  view.total = 300;
  view.finished = 120;
  view.failed = 2;
  view.in_flight = 32;
  view.tokens_per_s = 5230;
  view.eta_s = 11.2;
  view.done = 0.5;
  return view;
}

TEST(ProgressBar, ShowsAllWhereThereIsRoom) {
  EXPECT_EQ(
      ProgressText(SomeView(), 120),
      "run [####################                    ]  120/300, 2 failed  5230 tok/s  ETA 12 s  "
      "32 in flight");
}

TEST(ProgressBar, LeavesOutWhatMattersLess) {
  EXPECT_EQ(ProgressText(SomeView(), 58),
            "run 120/300, 2 failed  5230 tok/s  ETA 12 s  32 in flight");
  EXPECT_EQ(ProgressText(SomeView(), 40), "120/300, 2 failed  5230 tok/s  ETA 12 s");
  EXPECT_EQ(ProgressText(SomeView(), 20), "120/300, 2 failed");
  EXPECT_EQ(ProgressText(SomeView(), 3), "");
}

TEST(ProgressBar, IsNeverWiderThanTheTerminal) {
  ProgressView view = SomeView();
  for (int width = -1; width < 200; ++width) {
    EXPECT_LE(ProgressText(view, width).size(), static_cast<std::size_t>(std::max(0, width)));
    view.done = 7;  // more than all
    view.tokens_per_s = 123456789;
  }
}

TEST(ProgressBar, TellsTimesAsPeopleDo) {
  EXPECT_EQ(DurationText(0), "0 s");
  EXPECT_EQ(DurationText(6.1), "7 s");
  EXPECT_EQ(DurationText(187), "3:07");
  EXPECT_EQ(DurationText(7387), "2:03:07");
  EXPECT_EQ(DurationText(-1), "?");
  EXPECT_EQ(DurationText(1e300), "?");
}

TEST(ProgressBar, DrawsNothingIntoAFile) {
  std::FILE* file = std::tmpfile();
  ASSERT_NE(file, nullptr);
  {
    ProgressBar bar(file, true);
    bar.Update(SomeView(), 100, 1000, 1);
  }
  EXPECT_EQ(std::ftell(file), 0);
  std::fclose(file);
}

}  // namespace
}  // namespace quire
